# SPDX-License-Identifier: Apache-2.0
"""Small processes: the few pages of a heap tell whose it is, wherever the kernel has put them."""
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
