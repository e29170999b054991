# SPDX-License-Identifier: Apache-2.0
"""Whose stacks are in memory, and what a process's cgroup is charged."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .harness import Failure, Skip, Test
from .test_inspect import inspect

# Three threads called "deep", which touch 4 MiB of stack each, one "shallow", and one that has no name of its own.
THREADS = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static pthread_barrier_t all;
static void* run(void* deep) {
  if (deep) pthread_setname_np(pthread_self(), *(int*)deep ? "deep" : "shallow");
  char room[4 << 20];
  if (deep && *(int*)deep) memset(room, 1, sizeof room);
  __asm__ volatile("" : : "r"(room) : "memory");
  pthread_barrier_wait(&all);
  for (;;) pause();
}
int main(void) {
  static int deep = 1, shallow = 0;
  pthread_t t;
  pthread_barrier_init(&all, NULL, 6);
  for (int i = 0; i < 3; ++i) pthread_create(&t, NULL, run, &deep);
  pthread_create(&t, NULL, run, &shallow);
  pthread_create(&t, NULL, run, NULL);
  pthread_barrier_wait(&all);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def expect_names(report: dict) -> None:
    stacks = next(line for line in report["ledger"] if line["cause"] == "stacks")
    named = {d["name"]: (d["mappings"], d["bytes"]) for d in stacks["details"]}
    if list(named)[0] != "deep" or named["deep"][0] != 3 or not 12 << 20 <= named["deep"][1] <= 13 << 20:
        raise Failure(f"three deep stacks of 4 MiB should come first: {named}")
    if set(named) != {"deep", "shallow", "threads", "main"} or named["shallow"][1] > 1 << 20:
        raise Failure(f"unexpected names: {named}")


def test_stacks_have_the_names_of_their_threads(t: Test) -> None:
    program = t.compile("threads", "-pthread", source=THREADS)
    pid = t.start(program).pid
    expect_names(inspect(t, pid))
    t.expect(t.run("inspect", "--full", str(pid)), 0, "threads 'deep', 3", "thread 'shallow'", "main thread")


def test_a_thread_that_is_called_main_is_not_the_main_one(t: Test) -> None:
    program = t.compile("mains", "-pthread", source=THREADS.replace('"shallow"', '"main"'))
    pid = t.start(program).pid
    t.expect(t.run("inspect", "--full", str(pid)), 0, "main thread and threads 'main', 2\n", "threads 'deep', 3\n")


def test_preloaded_processes_name_them_too(t: Test) -> None:
    pid = t.start(t.mallard, "run", "--", t.compile("threads", "-pthread", source=THREADS)).pid
    for option in ("--full", "--by-signal"):
        done = t.run("dump", "--json", *([] if option == "--full" else [option]), str(pid))
        if done.status != 0:
            raise Failure(done.stderr)
        expect_names(json.loads(done.stdout))


def test_threads_of_another_pid_namespace(t: Test) -> None:
    program = t.compile("threads", "-pthread", source=THREADS)
    if os.geteuid() != 0 or subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        raise Skip("needs root, and mounts of its own, which a chroot has not")
    outer = t.start("unshare", "--pid", "--fork", "--mount-proc", program).pid
    children = Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="ascii").split()
    try:
        expect_names(inspect(t, int(children[0])))
    finally:
        os.kill(int(children[0]), 9)


HOLDER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char** argv) {
  (void)argc;
  FILE* in = fopen(argv[1], "w");
  if (!in || fprintf(in, "%d", (int)getpid()) < 0 || fclose(in) != 0) return 1;
  char* held = memset(malloc(48 << 20), 1, 48 << 20);
  const int file = open(argv[2], O_RDWR | O_CREAT, 0600);
  for (int i = 0; i < 24; ++i)
    if (write(file, held, 1 << 20) != 1 << 20) return 1;
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_what_the_cgroup_is_charged(t: Test) -> None:
    mounts = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]
    above = next((m for m in mounts if (m / "memory.stat").exists() and os.access(m, os.W_OK)), None)
    if not above:
        raise Skip("no cgroup for memory can be made here")
    group = above / f"mallard-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as e:
        raise Skip(f"no cgroup can be made here: {e}") from e
    try:
        if not (group / "memory.stat").exists():
            raise Skip("cgroups here have no memory")
        process = t.start(t.compile("holder", source=HOLDER), group / "cgroup.procs", t.dir / "written")
        cgroup = inspect(t, process.pid)["memory"]["cgroup"]
        if not cgroup or cgroup["processes"] != 1 or not cgroup["path"].endswith(group.name):
            raise Failure(f"it is alone in {group}: {cgroup}")
        for name, least, most in (("anonymous_bytes", 48, 50), ("page_cache_bytes", 24, 26), ("charged_bytes", 72, 78)):
            if not least << 20 <= cgroup[name] <= most << 20:
                raise Failure(f"{name} should be {least} to {most} MiB: {cgroup}")
        if not 0 < cgroup["page_table_bytes"] <= 1 << 20 or cgroup["limit_bytes"] is not None:
            raise Failure(f"{cgroup}")
        t.expect(t.run("inspect", "--full", str(process.pid)), 0, "charged to its cgroup", "which it has alone", "page cache")
        process.kill()
        process.wait()
    finally:
        group.rmdir()
