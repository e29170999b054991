# SPDX-License-Identifier: Apache-2.0
"""What the library says on standard error: errors everywhere, notices to a terminal or where they are asked for."""
from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

from support.compiler import build_case
from support.framework import Test, wait_until
from support.idle import finish_idle, start_idle
from support.reports import load, report_files, wait_for_handler


def one_report(t: Test, process: subprocess.Popen[bytes], number: int = 1) -> None:
    wait_for_handler(process.pid, signal.SIGUSR2)
    process.send_signal(signal.SIGUSR2)
    wait_until(lambda: len(files := report_files(t.dir)) == number and load(files[-1]), 20, "the report")


def notices(t: Test, pid: int) -> list[str]:
    done = t.run([t.build / "mallard", "check", "--json", str(pid)], t.plain_env(), label="check")
    return json.loads(done.stdout)["process"]["notices"]


def test_silent_on_a_file_and_told_when_asked(t: Test) -> None:
    process = start_idle(t, t.preload_env())
    t.equal(notices(t, process.pid), [], "notices of a process that nobody has asked")
    one_report(t, process)
    written = f"wrote {str(report_files(t.dir)[0])[:-len('.json')]}.txt (and .json)"
    wait_until(lambda: notices(t, process.pid) == [written], 10, "the notice")
    text = t.run([t.build / "mallard", "check", str(process.pid)], t.plain_env(), label="check-text").stdout
    t.check("what the library had to say" in text and " ".join(written.split()[:1]) in text, text)
    t.equal(finish_idle(t, process).stderr, "", "standard error, which is a file")


def test_told_with_verbose(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_VERBOSE="1"))
    one_report(t, process)
    said = finish_idle(t, process).stderr
    t.check("serves this process" in said and "mallard: wrote" in said, f"ALLOC_VERBOSE=1: {said}")


def test_told_on_a_terminal(t: Test) -> None:
    ours, its = pty.openpty()
    try:
        process = start_idle(t, t.preload_env(), program=build_case(t, "idle.c"), stderr=its)
        one_report(t, process)
        os.set_blocking(ours, False)
        wait_until(lambda: b"mallard: wrote" in os.read(ours, 4096), 10, "the notice on a terminal")
        finish_idle(t, process)
    finally:
        os.close(ours)
        os.close(its)


def test_a_library_that_misbehaves_fails_no_host(t: Test) -> None:
    """Tcl's exec and many a test runner take any line of a child for a failure."""
    mimalloc = next((path for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
                     if os.path.exists(path := f"{folder}/libmimalloc.so.2.0")), None)
    for backend in ("system", "jemalloc", *([mimalloc] if mimalloc else [])):
        done = t.run(["/bin/sh", "-c", "ls >/dev/null; exec ls >/dev/null"],
                     t.preload_env(ALLOC_BACKEND=backend, ALLOC_AT_EXIT="1"), label=f"on-{backend}".replace("/", "-"))
        t.equal(done.stderr, "", f"{backend}: what three programs with a report each say")
