# SPDX-License-Identifier: Apache-2.0
"""`mallard inspect --leaks`: blocks that nothing leads to, in programs that know how many they lost."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.backends import matrix

from .control import library
from .harness import Failure, Skip, Test
from .test_inspect import inspect, start

# What is kept is kept in a table, a list, thread-local memory, on a stack, in a register, tagged, inside, in a cache
# that turns over, in shared memory and in memory that the program keeps from itself. What is lost: single blocks, a list, a ring; by main and by threads.
KNOWN = """
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
enum { kKept = 4000, kTagged = 500, kLost = 3000, kChain = 1000 };
struct node { struct node* next; char rest[200]; };
static char* table[kKept];
/* Not static: a compiler drops what is only written to. */
uintptr_t low[kTagged], high[kTagged], inside[kTagged];
struct node* list;
static void* cache[64];
_Thread_local void* mine[100];
static pthread_barrier_t ready;
static void* block(size_t bytes) { return memset(malloc(bytes), 1, bytes); }
static __attribute__((noinline)) struct node* chain(int n) {
  struct node* head = NULL;
  while (n-- > 0) {
    struct node* one = block(sizeof *one);
    one->next = head;
    head = one;
  }
  return head;
}
static __attribute__((noinline)) void lose(void) {
  for (int i = 0; i < kLost; i++) block(600);
  chain(kChain);
  struct node *first = chain(10), *last = first;
  while (last->next) last = last->next;
  last->next = first;
}
static __attribute__((noinline)) void wipe(void) {
  volatile char old[64 << 10];
  for (size_t i = 0; i < sizeof old; i++) old[i] = 0;
}
static void* thread(void* unused) {
  for (int i = 0; i < 100; i++) mine[i] = block(40);
  lose();
  void* volatile on_stack = block(300);
  register void* in_register __asm__("r12") = block(300);
  __asm__ volatile("" : "+r"(in_register));
  wipe();
  pthread_barrier_wait(&ready);
  for (;;) {
    pause();
    __asm__ volatile("" : "+r"(in_register));
  }
  return on_stack ? unused : NULL;
}
int main(void) {
  for (int i = 0; i < kKept; i++) table[i] = block(16 + i % 400);
  for (int i = 0; i < kTagged; i++) {
    low[i] = (uintptr_t)block(48) | (uintptr_t)(i % 8);
    high[i] = (uintptr_t)block(48) | (uintptr_t)(0x8000 + i) << 48;
    inside[i] = (uintptr_t)block(5000) + 4999;
  }
  void** shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 100; i++) shared[i] = block(77);
  void** kept_away = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 1000; i++) kept_away[i] = block(88);
  mprotect(kept_away, 8192, PROT_NONE);
  for (int i = 0; i < 2000; i++) {
    free(cache[i % 64]);
    cache[i % 64] = block(100);
  }
  list = chain(500);
  lose();
  for (int i = 0; i < kKept; i += 3) {
    free(table[i]);
    table[i] = NULL;
  }
  pthread_barrier_init(&ready, NULL, 3);
  for (int i = 0; i < 2; i++) pthread_create(&(pthread_t){0}, NULL, thread, NULL);
  pthread_barrier_wait(&ready);
  wipe();
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""
# Three times as many as lose() loses: single ones, and of the others those that lead to the rest.
LOST, FIRST = 3 * (3000 + 1000 + 10), 3 * (3000 + 1 + 1)


def expect_known(lost: dict, least_chained: int = 2020) -> None:
    """What is lost, next to all of it, and nothing else. A stale address keeps what is behind it in a chain: glibc may
    leave one such chain, and thread caches of others keep addresses of blocks that they handed out."""
    large = {group["block_bytes"]: group for group in lost["groups"]}
    single = sum(group["blocks"] for size, group in large.items() if 600 <= size < 1000)
    chained = sum(group["blocks"] for size, group in large.items() if 208 <= size < 300)
    if not lost["done"] or not 8900 <= single <= 9000 or chained < least_chained or chained > 3030:
        raise Failure(f"{single} of 9000, {chained} of 3030: {lost}")
    if lost["blocks"] != single + chained:
        raise Failure(f"blocks that are in use are called lost: {lost}")
    if not single + 2 <= lost["first_blocks"] <= FIRST + 20:
        raise Failure(f"{lost['first_blocks']} are the first to be lost, of {FIRST}")


def test_lost_blocks_are_told_from_those_in_use(t: Test) -> None:
    program = t.compile("known", "-pthread", source=KNOWN)
    pid = start(t, program).pid
    report = inspect(t, pid, "--leaks", "--again-after", "0.1")
    expect_known(report["lost"])
    if report["lost"]["looks"] < 2 or report["lost"]["threads_read"] != 3 or report["lost"]["registers_why"]:
        raise Failure(f"{report['lost']}")
    if "S" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
        raise Failure("the process was left stopped")
    t.expect(t.run("inspect", "--leaks", "--again-after", "0.1", "--fail-on", "lost>1M", str(pid)), 1, "Lost blocks",
             error="lost is ")
    t.expect(t.run("inspect", "--fail-on", "lost>1M", str(pid)), 3, error="nobody looked for lost blocks")


def test_lost_blocks_of_other_allocators(t: Test) -> None:
    program, told = t.compile("known", "-pthread", source=KNOWN), 0
    for backend in ("jemalloc", "mimalloc3"):
        pid = start(t, program, env={"LD_PRELOAD": library(t), "ALLOC_BACKEND": backend, "ALLOC_MODE": "off"}).pid
        report = inspect(t, pid, "--leaks", "--again-after", "0.1")
        if report["backend"]["name"] == backend.rstrip("3"):
            told += 1
            expect_known(report["lost"], 500)
    if told == 0:
        raise Skip("there is neither jemalloc nor mimalloc 3 here")


def test_lost_blocks_of_tcmalloc(t: Test) -> None:
    """Preloaded by itself. What is in the caches of its threads is free, and no block that is lost."""
    row = next(b for b in matrix(t.mallard.parent) if b.name == "tcmalloc")
    if row.missing:
        raise Skip(row.missing)
    pid = start(t, t.compile("known", "-pthread", source=KNOWN), env={"LD_PRELOAD": row.value}).pid
    report = inspect(t, pid, "--leaks", "--again-after", "0.1")
    if report["backend"]["name"] != "tcmalloc":
        raise Failure(f"{report['backend']}")
    lost = report["lost"]
    own = [group for group in lost["groups"] if "MallocExtension" in (group["kind"] or "")]  # tcmalloc loses one of its own
    for group in own:
        lost["groups"].remove(group)
        lost["blocks"] -= group["blocks"]
    if sum(group["blocks"] for group in own) > 1:
        raise Failure(f"{own}")
    expect_known(lost, 500)


def test_a_stopped_process_stays_stopped(t: Test) -> None:
    pid = start(t, t.compile("known", "-pthread", source=KNOWN)).pid
    os.kill(pid, signal.SIGSTOP)
    expect_known(inspect(t, pid, "--leaks", "--again-after", "0.1")["lost"])
    if "T" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
        raise Failure("the process was let go on")
    report = inspect(t, pid, "--leaks", "--no-stop", "--again-after", "0.1")
    if report["lost"]["registers_why"] != "nothing was to be stopped":
        raise Failure(f"{report['lost']}")


def core_of(t: Test, pid: int) -> Path:
    if not shutil.which("gcore"):
        raise Skip("there is no gcore")
    done = subprocess.run(["gcore", "-o", t.dir / "core", str(pid)], capture_output=True, text=True, check=False)
    core = t.dir / f"core.{pid}"
    if not core.exists():
        raise Skip(f"gcore writes none: {done.stderr[-300:]}")
    return core


def test_a_core_file_tells_the_same(t: Test) -> None:
    pid = start(t, t.compile("known", "-pthread", source=KNOWN)).pid
    running = inspect(t, pid)
    core = core_of(t, pid)
    done = t.run("inspect", "--leaks", "--json", str(core))
    if done.status != 0 or done.stderr:
        raise Failure(f"{done}")
    report = json.loads(done.stdout)
    expect_known(report["lost"])
    if report["core"]["path"] != str(core) or report["process"]["pid"] != pid or report["lost"]["looks"] != 1:
        raise Failure(f"{report['core']} {report['process']}")
    live = [sum(line["bytes"] for line in r["ledger"] if line["cause"] == "live") for r in (running, report)]
    if abs(live[0] - live[1]) > 0.01 * live[0]:
        raise Failure(f"live {live}")
    t.expect(t.run("inspect", "--leaks", str(core)), 0, "inspection of known", "core file", "pages of zeros left out", "that the core leaves out may lead")
    for words, why in ((["--exe", "/etc/passwd"], "'/etc/passwd' is not used: it is no ELF file"),
                       (["--exe", sys.executable], "is not used: its build-id is not that of the file that ran")):
        t.expect(t.run("inspect", *words, str(core)), 0, error=why)
    for option in ("--exe", "--sysroot"):
        t.expect(t.run("inspect", option, "/nonexist", str(core)), 3,
                 error="'/nonexist' cannot be opened: No such file or directory")
    t.expect(t.run("inspect", "--leaks", "--again-after", "2", str(core)), 2, error="for processes that run")
    for command, ending in (("zstd", ".zst"), ("lz4", ".lz4")):
        if shutil.which(command):
            subprocess.run([command, "-q", core, str(core) + ending], check=True)
            again = json.loads(t.run("inspect", "--json", str(core) + ending).stdout)
            if again["ledger"] != report["ledger"]:
                raise Failure(f"{ending}: {again['ledger']}")
            packed = Path(str(core) + ending)
            packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
            t.expect(t.run("inspect", str(packed)), 3, error="cannot decompress all of it: it is cut short or damaged")


def test_cores_that_are_none(t: Test) -> None:
    (t.dir / "short").write_bytes(b"\x7fELF" + bytes(20))
    (t.dir / "packed.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    for name, why in (("short", "no ELF file"), ("packed.zst", "decompress"), ("missing", "No such file"), ("", "regular")):
        done = t.run("inspect", f"{t.dir}/{name}")
        if done.status != 3 or len(done.stderr.splitlines()) > 2 or not re.search(why, done.stderr):
            raise Failure(f"{name}: {done}")
    t.expect(t.run("inspect", sys.executable), 3, error="no core file")
    t.expect(t.run("inspect", "--exe", "x", "1"), 2, error="for core files")


# What mallard could take for glibc's mark of a free block: a second word that all nodes share, beside a link.
LINKED = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
struct node { struct node* next; const char** kind; long number; char rest[100]; };
struct node* head;
const char* kinds[4];
int main(void) {
  for (int i = 0; i < 100000; i++) {
    struct node* one = malloc(sizeof *one);
    one->kind = kinds;
    one->number = i;
    one->next = head;
    head = one;
  }
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_nodes_of_a_list_in_a_static_program_are_no_free_blocks(t: Test) -> None:
    pid = start(t, t.compile("linked", "-static", source=LINKED)).pid
    report = inspect(t, pid, "--leaks", "--again-after", "0.1")
    live = next(line["bytes"] for line in report["ledger"] if line["cause"] == "live")
    if report["lost"]["blocks"] > 10 or live < 100_000 * 120:
        raise Failure(f"{report['lost']}, {live} bytes live")


# Maps a part of its own file once more, far away, as node does, and has its heap in the program break.
MAPPED_AGAIN = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
char* kept[4096];
int main(void) {
  for (int i = 0; i < 4096; ++i) kept[i] = memset(malloc(4000), 1, 4000);
  const int fd = open("/proc/self/exe", O_RDONLY);
  if (mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) return 1;
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


@pytest.mark.parametrize("option", ["-pie", "-no-pie"])
def test_the_break_of_a_program_that_maps_itself_again(t: Test, option: str) -> None:
    core = core_of(t, t.start(t.compile("again", option, source=MAPPED_AGAIN)).pid)
    report = json.loads(t.run("inspect", "--leaks", "--json", str(core)).stdout)
    live = sum(line["bytes"] for line in report["ledger"] if line["cause"] == "live")
    if not 4096 * 4000 <= live <= 4096 * 4100 or report["lost"]["bytes"] > 0 or report["lost"]["examined_blocks"] < 4096:
        raise Failure(f"{live} of {4096 * 4000} bytes are live, lost: {report['lost']}")


# Keeps a list, loses single blocks of 333 bytes, and frees and allocates all the time.
ON_MUSL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
struct node { struct node* next; char rest[100]; };
struct node* volatile head;
void* volatile sink;
int main(void) {
  for (int i = 0; i < 100000; ++i) {
    struct node* n = malloc(sizeof *n + (size_t)(i % 200));
    memset(n, 1, sizeof *n);
    n->next = head;
    head = n;
  }
  for (int i = 0; i < 1000; ++i) sink = memset(malloc(333), 2, 333);
  for (int i = 0; i < 10; ++i) sink = memset(malloc(300000), 2, 300000);
  sink = NULL;
  puts("up");
  fflush(stdout);
  for (;;) {
    for (int i = 0; i < 100; ++i) {
      void* volatile p = malloc((size_t)i);
      free(p);
    }
    usleep(10000);
  }
}
"""


@pytest.mark.parametrize("option", ["-dynamic", "-static"])
def test_lost_blocks_of_musl(t: Test, option: str) -> None:
    program = t.compile("on_musl", *([option] if option == "-static" else []), source=ON_MUSL, compiler="musl-gcc")
    lost = inspect(t, start(t, program).pid, "--leaks")["lost"]
    if not lost["done"] or not 100000 <= lost["examined_blocks"] <= 102000:
        raise Failure(f"{lost}")
    if not 995 <= lost["blocks"] - 10 <= 1001 or lost["bytes"] < 10 * 300000 + 995 * 333:
        raise Failure(f"1,000 blocks of 333 bytes and ten large ones are lost: {lost}")
