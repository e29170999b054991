# SPDX-License-Identifier: Apache-2.0
"""Whose heap it is: the few pages of a small process tell, wherever the kernel has put them, and a malloc that nobody knows
is named by where it is."""
from __future__ import annotations

import pytest
from support.backends import direct_objects, matrix

from .harness import Failure, Skip, Test
from .test_inspect import expect_closed, inspect, lines_of, start

SMALL = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  for (int i = 0; i < 60; i++) memset(malloc(i * 33 + 1), 1, i * 33 + 1);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""
SMALL_LIVE = sum(i * 33 + 1 for i in range(60))


@pytest.mark.parametrize("place", ["-pie", "-no-pie"])  # the program break is far from the libraries, or at low addresses
@pytest.mark.parametrize("backend", ["jemalloc", "mimalloc2", "mimalloc3", "tcmalloc"])
def test_a_small_heap_is_divided(t: Test, backend: str, place: str) -> None:
    row = next(b for b in matrix(t.mallard.parent) if b.name == backend)
    preloaded = row.value if backend == "tcmalloc" else direct_objects(t.mallard.parent)[backend]
    if row.missing or not preloaded:
        raise Skip(row.missing or f"there is no shared {backend} here")
    program = t.compile("small", "-fPIE" if place == "-pie" else "-fno-pie", place, source=SMALL)
    for _ in range(4):  # addresses differ from start to start
        process = start(t, program, env={"LD_PRELOAD": preloaded})
        report = inspect(t, process.pid)
        expect_closed(process.pid, report)
        lines = lines_of(report)
        if report["backend"]["name"] != backend.rstrip("23") or lines.get("undivided", 0):
            raise Failure(f"{report['backend']}, not divided: {report['ledger_about']['not_divided_why']}")
        if not SMALL_LIVE < lines["live"] < SMALL_LIVE + 300_000:  # what allocators and libraries take at the start included
            raise Failure(f"{SMALL_LIVE} bytes were asked for: {lines}")
        process.kill()


OWN_MALLOC = """
#include <stddef.h>
#include <string.h>
static char room[96 << 20];
static size_t used;
void* malloc(size_t bytes) {
  const size_t at = __atomic_fetch_add(&used, (bytes + 31) / 16 * 16, __ATOMIC_RELAXED);
  memcpy(room + at, &bytes, sizeof bytes);
  return room + at + 16;
}
void free(void* block) { (void)block; }
void* calloc(size_t count, size_t bytes) { return malloc(count * bytes); }
void* realloc(void* block, size_t bytes) {
  void* moved = malloc(bytes);
  size_t before = 0;
  if (block) memcpy(&before, (char*)block - 16, sizeof before);
  if (block) memcpy(moved, block, before < bytes ? before : bytes);
  return moved;
}
"""


def test_a_malloc_that_nobody_knows_is_named_by_where_it_is(t: Test) -> None:
    """glibc is there, and serves nobody: the executable's malloc, or a preloaded one, comes first."""
    inside = t.compile("inside", "-rdynamic", source=OWN_MALLOC + SMALL)
    hidden = t.compile("hidden", "-fvisibility=hidden", source=OWN_MALLOC + SMALL)  # to libraries it is glibc's that serves
    preloaded = t.compile("libtheirs.so", "-shared", "-fPIC", source=OWN_MALLOC)
    second = t.compile("libsecond.so", "-shared", "-fPIC", source=OWN_MALLOC)
    small = t.compile("small", source=SMALL)
    for program, env, name, path in ((inside, {}, "executable", inside), (small, {"LD_PRELOAD": str(preloaded)}, "libtheirs.so", preloaded),
                                     (small, {"LD_PRELOAD": f"{preloaded} {second}"}, "libtheirs.so", preloaded),
                                     (small, {"LD_PRELOAD": f"{second} {preloaded}"}, "libsecond.so", second),
                                     (small, {}, "system", None), (hidden, {}, "system", None)):
        process = start(t, program, env=env)
        served = inspect(t, process.pid)["backend"]
        if served["name"] != name or (path and served["path"] != str(path)):
            raise Failure(f"{program.name} {env}: {served}")
        text = t.run("inspect", str(process.pid)).stdout
        if ("serves malloc           a malloc of its own, " in text) != (name == "executable"):
            raise Failure(text)
        process.kill()


def test_where_mallard_would_see_nothing_it_is_not_advised(t: Test) -> None:
    """The loader binds every object to the executable's malloc: starting it with mallard would show no call site."""
    large = SMALL.replace("i < 60", "i < 2200").replace("i * 33", "i * 20")
    told = {}
    for name, flags in (("inside", "-rdynamic"), ("theirs", "-shared")):
        own = OWN_MALLOC.replace("static char room[96 << 20];", """
#include <sys/mman.h>
static char* room;
__attribute__((constructor)) static void make(void) {
  if (!room) room = mmap(NULL, 96 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
""").replace("  const size_t at", "  make();\n  const size_t at")
        if name == "inside":
            process = start(t, t.compile(name, flags, source=own + large))
        else:
            library = t.compile("libtheirs.so", flags, "-fPIC", source=own)
            process = start(t, t.compile("large", source=large), env={"LD_PRELOAD": str(library)})
        told[name] = " ".join(t.run("inspect", str(process.pid)).stdout.split())
        if "The program's allocator is none that mallard can ask" not in told[name]:
            raise Failure(told[name])
    advice = "Start the program with mallard (mallard run) for its call sites."
    if advice in told["inside"] or advice not in told["theirs"]:
        raise Failure(f"{told}")
