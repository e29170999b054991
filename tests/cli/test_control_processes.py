# SPDX-License-Identifier: Apache-2.0
"""`mallard mode` and `mallard purge`: what they do, in processes of every kind, and every reason why not."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .control import HOLDER, left_behind, quiet_state, start
from .harness import Checked, Failure, Skip, Test


def expect_json(done: Checked) -> dict:
    if done.status != 0 or done.stderr:
        raise Failure(f"status {done.status}: {done.stderr}")
    return json.loads(done.stdout)


def test_purge_gives_back(t: Test) -> None:
    pid = start(t)
    before = quiet_state(pid)
    done = t.run("purge", str(pid))
    t.expect(done, 0, f"process {pid} ('holder'): ", " given back to the kernel")
    golden = re.sub(r"\d+(\.\d+)?", "N", done.stdout)
    # What was over at once warns of no seconds.
    took = float(re.search(r"took ([\d.]+) ms", done.stdout)[1])
    seconds = ", up to seconds on large heaps" if took >= 100 else ""
    if golden != f"""process N ('holder'): N MiB given back to the kernel
  called            malloc_trim(N) of system, which took N ms
  held up           threads wait for an arena that it walks{seconds}
  not reached       free blocks in thread caches keep their pages
  resident (RSS)    N MiB before, N MiB after
    of it anonymous N MiB before, N MiB after
""":
        raise Failure(f"unexpected text:\n{done.stdout}")
    answer = expect_json(t.run("purge", str(pid), "--json"))
    if not answer["done"] or answer["pid"] != pid or answer["given_back_bytes"] > 1 << 20:
        raise Failure(f"a second purge gave back again: {answer}")
    pid = start(t)
    answer = expect_json(t.run("purge", str(pid), "--json"))
    if answer["given_back_bytes"] < 30 << 20 or answer["heap_before_bytes"] - answer["heap_after_bytes"] < 30 << 20:
        raise Failure(f"of 50 MB free memory little went back: {answer}")
    if quiet_state(pid) != before or left_behind(pid):
        raise Failure(f"it left something: {quiet_state(pid)}, {before}, {left_behind(pid)}")


def test_mode_shows_what_is_in_force(t: Test) -> None:
    for wanted in ("sample", "off"):
        pid = start(t, ALLOC_MODE=wanted)
        t.expect(t.run("mode", str(pid)), 0, f"process {pid} ('holder'): mode {wanted}\n")
        t.expect(t.run("mode", str(pid), wanted), 0, f"process {pid} ('holder'): mode {wanted}, as before\n")
        answer = expect_json(t.run("mode", "--json", str(pid)))
        if answer != {"pid": pid, "done": True, "was": wanted, "mode": wanted, "latency": False}:
            raise Failure(f"answer: {answer}")


def test_mode_switches(t: Test) -> None:
    pid = start(t)
    was = "sample"
    for mode in ("exact", "off", "exact", "sample", "off", "sample"):
        t.expect(t.run("mode", str(pid), mode), 0, f"process {pid} ('holder'): mode {mode}, was {was}\n")
        t.expect(t.run("mode", str(pid)), 0, f"process {pid} ('holder'): mode {mode}\n")
        t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, f"mode {mode}")  # from outside, too
        was = mode


def test_calls_are_timed_beside_each_mode(t: Test) -> None:
    """Timing begins with nothing counted, stays when the mode changes, and ends."""
    pid = start(t)

    def latency() -> object:
        return json.loads(t.run("dump", "--json", str(pid)).stdout)["latency"]

    for begun in range(2):
        t.expect(t.run("mode", str(pid), "latency"), 0, f"process {pid} ('holder'): mode sample; a share of the calls is timed\n")
        if not isinstance(now := latency(), dict) or now["every"] != 64 or now["went_back"] != 0 or now["since_ns"] > 6e11:
            raise Failure(f"round {begun}: {now}")
        for mode in ("exact", "off", "sample"):
            t.expect(t.run("mode", str(pid), mode), 0, f"mode {mode}, was")
            t.expect(t.run("mode", str(pid)), 0, f"process {pid} ('holder'): mode {mode}; a share of the calls is timed\n")
            if not latency():
                raise Failure(f"nothing is timed in mode {mode}")
        t.expect(t.run("mode", str(pid), "latency=off"), 0, f"process {pid} ('holder'): mode sample\n")
        if latency() is not None:
            raise Failure("it goes on")


def test_books_that_ended_are_own_memory(t: Test) -> None:
    """What exact mode has taken stays mallard's after it: its tables are kept, and counted."""
    pid = start(t, ALLOC_MODE="exact")
    own, books = [], 0
    for mode in ("exact", "sample", "off"):
        t.expect(t.run("mode", str(pid), mode), 0, f"mode {mode}")
        recording = json.loads(t.run("dump", "--json", str(pid)).stdout)["recording"]
        own.append(recording["own_bytes"])
        if mode == "exact":
            books = recording["exact"]["own_bytes"]
    if books < 1 << 18 or min(own[1:]) < own[0] - books // 2:
        raise Failure(f"own memory in exact mode {own[0]}, of which books {books}; later {own[1:]}")


def test_control_wrong_use(t: Test) -> None:
    for command in ("mode", "purge"):
        for arguments, message in (([], "PID|NAME is required"), (["0"], "PID|NAME: '0' is no process id"), (["1", "--timeout", "0"], "--timeout: '0' is no number of seconds above 0"),
                                   (["1", "--timeout", "nan"], "--timeout: 'nan' is no number of seconds above 0")):
            t.expect(t.run(command, *arguments), 2, error=f"mallard: error: {message}")
    t.expect(t.run("mode", "1", "fast"), 2,
             error="mallard: error: MODE: 'fast' is no mode: expected is sample, exact or off, or latency or latency=off\n"
                   "mallard: hint: 'mallard mode --help' shows the usage\n")
    t.expect(t.run("purge", "1", "now"), 2, error="mallard: error: the following argument was not expected: now")


def test_control_of_processes_that_cannot_answer(t: Test) -> None:
    ended = t.start("sh", "-c", "echo up")
    ended.wait()
    plain = t.start(t.compile("holder", source=HOLDER)).pid
    off = start(t, ALLOC_CONTROL="0")
    silent = start(t, ALLOC_SIGNAL="none")
    stopped = start(t)
    os.kill(stopped, signal.SIGSTOP)
    for command in ("mode", "purge"):
        t.expect(t.run(command, str(ended.pid)), 3,
                 error=f"mallard: error: process {ended.pid} cannot be read: No such process\n")
        t.expect(t.run(command, str(plain)), 3,
                 error=f"mallard: error: libmallard.so is not loaded in process {plain} ('holder')\n")
        t.expect(t.run(command, str(off)), 3,
                 error=f"mallard: error: process {off} ('holder') takes no control: ALLOC_CONTROL is not 1\n"
                       "mallard: hint: start it with 'mallard run', or with ALLOC_CONTROL=1\n")
        t.expect(t.run(command, str(silent)), 3,
                 error=f"mallard: error: no signal asks process {silent} ('holder') for this (ALLOC_SIGNAL=none)\n")
        t.expect(t.run(command, str(stopped)), 3, error=f"let it go on: kill -CONT {stopped}\n")
    os.kill(stopped, signal.SIGCONT)
    t.expect(t.run("mode", str(stopped)), 0, "mode sample")


# May not make sockets, as in a sandbox.
NO_SOCKETS = """
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_control_of_a_sandbox(t: Test) -> None:
    pid = start(t, NO_SOCKETS)
    t.expect(t.run("mode", str(pid), "--timeout", "0.6"), 3,
             error=f"mallard: error: process {pid} ('holder') has not answered within 0.6 s\n"
                   "mallard: hint: it must be allowed to create a thread and a Unix socket (ulimit -u, seccomp), and "
                   "to search the directory of the socket\n")
    waiting = subprocess.Popen([t.mallard, "mode", str(pid)], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not left_behind(pid) and time.monotonic() < until:
        time.sleep(0.01)
    waiting.send_signal(signal.SIGINT)
    _, stderr = waiting.communicate(timeout=60)
    if waiting.returncode != -signal.SIGINT or stderr or left_behind(pid):
        raise Failure(f"interrupted: status {waiting.returncode}, {stderr!r}, left {left_behind(pid)}")
    t.expect(t.run("dump", str(pid)), 0, f"pid {pid},", error="mallard: ")  # and lives


# Closes every descriptor, and opens its files under their numbers; then forks a child that goes on alone.
CLOSER = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
  FILE* out = fdopen(dup(1), "w");
  const pid_t child = fork();
  if (child != 0) {
    fprintf(out, "%d\\n", child);
    fflush(out);
  }
  closefrom(0);
  for (int i = 0; i < 10; ++i) open("/dev/null", O_RDWR);
  for (;;) free(malloc(100)), usleep(1000);
}
"""


def test_control_of_a_daemon_and_its_child(t: Test) -> None:
    process = t.start("sh", "-c", f"{t.compile('closer', source=CLOSER)} & echo $!; wait",
                      env={"ALLOC_CONTROL": "1", "LD_PRELOAD": str(t.mallard.parent / 'libmallard.so')})
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if not children:
        raise Failure("there is no daemon")
    parent = int(children[0])
    try:
        assert process.stdout
        child = int(process.stdout.readline())
        for pid in (parent, child, parent):
            t.expect(t.run("mode", str(pid)), 0, f"process {pid} ('closer'): mode sample\n")
            t.expect(t.run("purge", str(pid)), 0, "given back")
        for pid in (parent, child):
            descriptors, threads = quiet_state(pid)
            if descriptors != [str(i) for i in range(10)] or threads != 1:
                raise Failure(f"process {pid}: descriptors {descriptors}, {threads} threads")
    finally:
        for pid in (parent, child):
            os.kill(pid, signal.SIGKILL)


def test_control_in_namespaces(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Skip("needs root and unshare")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere:
        program = shutil.copy(t.compile("holder", source=HOLDER), elsewhere)
        preload = shutil.copy(t.mallard.parent / "libmallard.so", elsewhere)
        # A /tmp of its own, with a symbolic link that leads elsewhere outside of it.
        outer = t.start("unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c",
                        "mount -t tmpfs none /tmp && mkdir /tmp/own && ln -s /tmp/own /tmp/link && "
                        f"exec env LD_PRELOAD={preload} {program} || echo no",
                        env={"ALLOC_CONTROL": "1", "TMPDIR": "/tmp/link"})
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
        if not children:
            raise Skip("no private namespaces are permitted here")
        pid = int(children)
        answer = expect_json(t.run("mode", str(pid), "--json"))
        if answer["pid"] != 1 or os.listdir(f"/proc/{pid}/root/tmp/own"):
            raise Failure(f"answer: {answer}; left: {os.listdir(f'/proc/{pid}/root/tmp/own')}")


def test_control_needs_permission(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = shutil.copy(t.mallard, t.dir / "mallard")
    shutil.copy(t.mallard.parent / "libmallard.so", t.dir / "libmallard.so")
    t.dir.chmod(0o755)
    roots = start(t)
    for subcommand in ("mode", "purge"):
        done = subprocess.run([*nobody, command, subcommand, str(roots)], capture_output=True, text=True, check=False)
        if done.returncode != 3 or f"error: process {roots} cannot be read: Permission denied" not in done.stderr:
            raise Failure(f"status {done.returncode}: {done.stderr}")
    program = t.compile("holder", source=HOLDER)
    theirs = t.start(*nobody, "env", f"LD_PRELOAD={t.dir}/libmallard.so", "ALLOC_CONTROL=1", program).pid
    done = subprocess.run([*nobody, command, "mode", str(theirs)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or f"process {theirs} ('holder'): mode sample" not in done.stdout:
        raise Failure(f"the same user: status {done.returncode}: {done.stderr}")
    t.expect(t.run("purge", str(theirs)), 0, "given back")  # root may


def test_run_lets_control_in(t: Test) -> None:
    pid = t.start(t.mallard, "run", "--", t.compile("holder", source=HOLDER)).pid
    t.expect(t.run("mode", str(pid)), 0, f"process {pid} ('holder'): mode sample\n")
    pid = t.start(t.mallard, "run", "--", t.compile("holder", source=HOLDER), env={"ALLOC_CONTROL": "0"}).pid
    t.expect(t.run("mode", str(pid)), 3, error="takes no control")
