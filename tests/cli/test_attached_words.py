# SPDX-License-Identifier: Apache-2.0
"""What is said of processes that mallard was attached to, and how processes are called."""
from __future__ import annotations

import json
import os
import time
from pathlib import Path

from .harness import Failure, Test
from .test_attach import attach, detach
from .test_top_processes import WORKER

OBJECT = "libmallard-attach.so"

# Puts more behind its name, as redis-server does.
RENAMED = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char** argv) {
  (void)argc;
  strcat(strcpy(argv[0], strrchr(argv[0], '/') + 1), " *:1");
  puts("up");
  fflush(stdout);
  pause();
}
"""


def private_pages(pid: int) -> int:
    """Bytes of the attached object's writable data and tables behind it that are in memory."""
    found, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="ascii").splitlines():
        words = line.split()
        if "-" in words[0] and ":" not in words[0]:
            counts = OBJECT in line and words[1].startswith("rw")
        elif words[0] == "Rss:" and counts:
            found += int(words[1]) * 1024
    return found


def test_its_own_memory_is_apart(t: Test) -> None:
    pid = t.start(t.compile("worker", source=WORKER)).pid
    attach(t, pid)
    time.sleep(1)
    report = json.loads(t.run("dump", "--json", str(pid)).stdout)
    own = next(line for line in report["ledger"] if line["cause"] == "own")
    elsewhere = [d for line in report["ledger"] if line["cause"] in ("file_copies", "anonymous")
                 for d in line["details"] if OBJECT in str(d)]
    if elsewhere or own["bytes"] < private_pages(pid) or private_pages(pid) == 0:
        raise Failure(f"own {own['bytes']}, in its data alone {private_pages(pid)}; elsewhere: {elsewhere}")
    detach(t, pid)


def test_what_it_leaves_behind_is_its_own(t: Test) -> None:
    """After detach the object and its tables stay: an inspection does not call them the program's."""
    pid = t.start(t.compile("worker", source=WORKER)).pid
    before = json.loads(t.run("inspect", "--json", str(pid)).stdout)
    attach(t, pid, "--mode", "exact")
    time.sleep(1)
    detach(t, pid)
    report = json.loads(t.run("inspect", "--json", str(pid)).stdout)
    own, anonymous = ([next(line["bytes"] for line in r["ledger"] if line["cause"] == cause) for r in (before, report)]
                      for cause in ("own", "anonymous"))
    if own[0] != 0 or own[1] < private_pages(pid) or anonymous[1] > anonymous[0] + (64 << 10):
        raise Failure(f"own {own}, other anonymous memory {anonymous}")


def test_no_variable_of_mallards_is_advised(t: Test) -> None:
    pid = t.start(t.compile("worker", source=WORKER)).pid
    attach(t, pid)
    time.sleep(1)
    done = t.run("dump", "--full", str(pid))
    t.expect(done, 0, f"mallard attach --mode exact {pid} tells what goes")
    if "ALLOC_" in done.stdout:
        raise Failure(f"a variable that does not reach the process:\n{done.stdout}")
    (t.dir / "report.json").write_text(t.run("dump", "--json", str(pid)).stdout)
    t.expect(t.run("report", "--by", "peak", "report.json"), 2, error="'mallard attach --mode exact' books every block")
    detach(t, pid)


FORKED = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
  if (fork() != 0) return wait(NULL) < 0;
  puts("up");
  fflush(stdout);
  for (;;) {
    void* volatile p = malloc(1000);
    free(p);
    usleep(1000);
  }
}
"""


def test_a_worker_that_was_forked_a_moment_ago_is_not_waited_for(t: Test) -> None:
    server = t.start(t.compile("forked", source=FORKED))
    worker = int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()[0])
    try:
        attach(t, worker)
        began = time.monotonic()
        t.expect(t.run("dump", str(worker)), 0, "report 0 of forked")
        t.expect(t.run("top", "-b", "-n", "1", str(worker)), 0, "mode sample")
        if time.monotonic() - began > 10:
            raise Failure(f"it took {time.monotonic() - began:.0f} s")
        detach(t, worker)
    finally:
        os.kill(worker, 9)


def test_a_process_is_called_as_it_was_started(t: Test) -> None:
    file = t.compile("its-file-is-called-so", source=RENAMED)
    os.symlink(file, t.dir / "its-server")
    pid = t.start(t.dir / "its-server", "and", "more", "words").pid
    if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] != b"its-server *:1":
        raise Failure("it has not renamed itself")
    t.expect(t.run("check", str(pid)), 0, "its-server")
    for command in (["dump", "--purge"], ["purge"], ["detach"]):
        t.expect(t.run(*command, str(pid)), 3, error="('its-server')")
    t.expect(t.run("inspect", str(pid)), 0, "inspection of its-server, ")


def test_nobody_has_the_name(t: Test) -> None:
    for command in ("attach", "detach", "inspect"):
        t.expect(t.run(command, "env"), 3, error="ps -e shows those that run")
    t.expect(t.run("dump", "nobody-has-this-name"), 3, error="ps -e shows those that run")
    t.expect(t.run("dump", "env"), 3, error="mallard run -- env starts it")
