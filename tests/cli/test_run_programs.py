# SPDX-License-Identifier: Apache-2.0
"""`mallard run`: real programs under the preload, and every way to use it wrongly."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from support.processes import catches, status_field

from .control import HOLDER
from .harness import Failure, Test


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def only_report(t: Test) -> dict:
    found = list(t.dir.glob("*.json"))
    expect(len(found) == 1, f"reports: {found}")
    return json.loads(found[0].read_text())


def test_run_sets_the_variables(t: Test) -> None:
    program = t.compile("program")
    done = t.run("run", "--backend", "jemalloc", "--sample-bytes", "64K", "--at-exit", "--report", "r.%p", "--",
                 program)
    expect(done.status == 0, done)
    report = only_report(t)
    expect(report["backend"]["name"] == "jemalloc", report["backend"])
    expect(report["recording"]["sample_bytes"] == 65536, report["recording"])


def test_run_passes_arguments_and_status_through(t: Test) -> None:
    done = t.run("run", "--", "sh", "-c", 'printf "<%s>" "$@"; exit 3', "sh", "-x", "--", "a b")
    expect((done.status, done.stdout) == (3, "<-x><--><a b>"), done)


def test_run_becomes_the_program(t: Test) -> None:
    with subprocess.Popen([t.mallard, "run", "--", "sh", "-c", "echo $$; exec sleep 60"], cwd=t.dir,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        expect(int(process.stdout.readline()) == process.pid, "another pid")
        process.send_signal(signal.SIGTERM)
        expect(process.wait(60) == -signal.SIGTERM, process.returncode)


def test_run_keeps_an_existing_preload(t: Test) -> None:
    library = t.compile("other.so", "-shared", "-fPIC", source="int unused_here;\n")
    done = t.run("run", "--", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": str(library)})
    first, _, second = done.stdout.strip().partition(":")
    expect(first.endswith("libmallard.so") and second == str(library), done)


def test_run_gives_a_loaded_backend_its_tls(t: Test) -> None:
    library = t.compile("backend.so", "-shared", "-fPIC", source="int unused_here;\n")
    done = t.run("run", "--backend", library, "--", "sh", "-c", "echo $GLIBC_TUNABLES",
                 env={"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"})
    expect(done.stdout == "glibc.malloc.arena_max=2:glibc.rtld.optional_static_tls=4096\n", done)


def test_run_takes_a_command_as_a_shell_does(t: Test) -> None:
    (t.dir / "true").mkdir()
    expect(t.run("run", "--", "true").status == 0, "a directory here stands for the command in PATH")
    t.compile("false")  # ends with 0
    expect(t.run("run", "--", "false").status == 1, "a file here stands for the command in PATH")
    expect(t.run("run", "--", "./false").status == 0, "a path is not taken as it is")


def test_run_says_what_is_not_seen(t: Test) -> None:
    program = t.compile("fixed", "-static")
    done = t.run("run", "--", program)
    expect(done.status == 0 and "mallard will not see any malloc of 'fixed'" in done.stderr, done)
    refused = subprocess.run([t.mallard, "run", "--strict", "--", program], capture_output=True, text=True,
                             timeout=60, check=False)
    expect(refused.returncode == 78, refused)
    expect("is not started, because of --strict" in refused.stderr, refused)


def test_run_marks_the_first_process(t: Test) -> None:
    """What concerns the whole run is said there only: its children can tell that they are not it."""
    done = t.run("run", "--", "sh", "-c", "echo $ALLOC_STARTED $$")
    mark, pid = done.stdout.split()
    expect(mark == pid, done)
    if "misaligns" in (done := t.run("run", "--backend", "mimalloc2", "--", "sh", "-c", "ls >&2; ls >&2; :")).stderr:
        expect(done.stderr.count("misaligns") == 1, done)


def is_held(pid: int, number: int = signal.SIGUSR2) -> bool:
    return bool(int(status_field(pid, "SigBlk") or "0", 16) >> (number - 1) & 1)


def test_a_signal_of_the_first_milliseconds_ends_nobody(t: Test) -> None:
    program = t.compile("holder", source=HOLDER)
    for milliseconds in range(0, 40, 2):
        with subprocess.Popen([t.mallard, "run", "--report", "r.%p", "--", program], cwd=t.dir,
                              stdout=subprocess.PIPE) as process:
            pid = process.pid
            while process.poll() is None and not is_held(pid) and not catches(pid, signal.SIGUSR2):
                pass
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGUSR2)
            assert process.stdout
            up = process.stdout.readline()
            deadline = time.monotonic() + 60
            while not (t.dir / f"r.{pid}.json").exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            status = process.poll()
            expect(status is None and up == b"up\n" and (t.dir / f"r.{pid}.json").exists(),
                   f"after {milliseconds} ms: status {status}, {up!r}, no report or none yet")
            process.kill()


SHOW = ["grep", "SigBlk", "/proc/self/status"]


def test_run_gives_the_program_the_mask_that_it_was_given(t: Test) -> None:
    def mask(*command: str, block: bool = False, **env: str) -> int:
        def before() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2} if block else set())
        done = subprocess.run([t.mallard, *command], cwd=t.dir, capture_output=True, text=True, check=False,
                              env={**os.environ, **env}, preexec_fn=before)
        return int(done.stdout.split()[-1], 16)

    usr2, five = 1 << (signal.SIGUSR2 - 1), 1 << (signal.SIGRTMIN + 4)
    for options in ([], ["--signal", "SIGRTMIN+5"], ["--signal", "none"], ["--mode", "off"]):
        expect(mask("run", *options, "--", *SHOW) == 0, f"{options}: signals stay blocked")
        expect(mask("run", *options, "--", "sh", "-c", "exec " + " ".join(SHOW)) == 0, f"{options}: or beyond exec")
    expect(mask("run", "--", *SHOW, block=True) == usr2, "what the caller blocked is no longer blocked")
    block = "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGRTMIN + 5]); "
    again = mask("run", "--", sys.executable, "-c", block + f"os.execvp('grep', {SHOW})")
    expect(again == usr2 | five, f"what the program blocks before exec: {again:x}")
    fixed = t.compile("fixed", "-static", source=SHOW_MASK)
    expect(mask("run", "--", str(fixed)) == 0, "a static program starts with signals blocked")


SHOW_MASK = """
#include <signal.h>
#include <stdio.h>
int main(void) {
  sigset_t set;
  sigprocmask(SIG_BLOCK, NULL, &set);
  printf("%lx\\n", set.__val[0]);
}
"""


def test_run_used_wrongly(t: Test) -> None:
    for arguments, status, message in (
            (("--",), 2, "COMMAND is required"),
            (("--backend", "fast", "--", "true"), 2, "--backend 'fast' is no backend"),
            (("--backend", "./no.so", "--", "true"), 2, "--backend './no.so' cannot be read: No such file"),
            (("--mode", "slow", "--", "true"), 2, "--mode 'slow' cannot be used"),
            (("--sample-bytes", "0", "--", "true"), 2, "--sample-bytes '0' cannot be used"),
            (("--signal", "SIGKILL", "--", "true"), 2, "--signal 'SIGKILL' cannot be used"),
            (("--", "no-such-command"), 3, "'no-such-command' cannot be opened: No such file or directory"),
            (("--", "/etc/passwd"), 3, "'/etc/passwd' cannot be run: Permission denied")):
        done = t.run("run", *arguments)
        expect(done.status == status and f"mallard: error: {message}" in done.stderr, (arguments, done))
        expect(len(done.stderr.splitlines()) <= 2, done)
