# SPDX-License-Identifier: Apache-2.0
"""mallard compare of a program with an allocator inside: as shipped it stays, a candidate serves in its place, and one
that cannot is a row with the reason."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.framework import Test
from support.marks import group

from .programs import mimalloc_archive, stripped
from .test_linked import JEMALLOC

HOLDER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  enum { kBytes = 40 << 20 };
  char* p = malloc(kBytes);
  memset(p, 1, kBytes);
  puts("done");
  return p[kBytes / 2] - 1;
}
"""


def holder(t: Test) -> Path:
    if not JEMALLOC.exists():
        t.skip(f"{JEMALLOC} is not installed (package libjemalloc-dev)")
    source, program = t.tmp / "holder.c", t.tmp / "holder"
    source.write_text(HOLDER)
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-o", program, source, JEMALLOC, "-lstdc++", "-lm", "-ldl", "-lpthread"],
                   check=True)
    return program


def compared(t: Test, program: Path) -> dict[str, Any]:
    done = t.run([t.build / "mallard", "compare", "--format", "json", "--runs", "1", "--backends", "system", "--", program],
                 t.plain_env(), label=program.name)
    return {c["name"]: c for c in json.loads(done.stdout)["candidates"]}


def test_a_candidate_serves_in_the_place_of_what_is_inside(t: Test) -> None:
    rows = compared(t, holder(t))
    t.check("jemalloc" in rows["as shipped"]["serves"], f"as shipped: {rows['as shipped']['serves']}")
    t.check(rows["system"]["serves"].startswith("system glibc ") and " in the place of jemalloc" in rows["system"]["serves"],
            f"system: {rows['system']['serves']}")
    t.equal(rows["system"]["failures"], 0, "failures")
    live = rows["system"]["runs"][0]["after_load"]["ledger"]["live"]
    t.check(40 << 20 <= live < 41 << 20, f"{live} bytes are live")


def test_what_stays_inside_is_no_candidate(t: Test) -> None:
    rows = compared(t, stripped(t, holder(t)))
    t.equal(rows["as shipped"]["failures"], 0, "failures as shipped")
    t.check("stripped" in (rows["system"]["runs"][0]["failure"] or ""), f"system: {rows['system']['runs'][0]}")


@pytest.mark.timeout(900)
@group("cargo")
def test_what_calls_an_allocator_by_its_own_names_is_none(t: Test) -> None:
    source, program = t.tmp / "heap.c", t.tmp / "heap"
    source.write_text("#include <stddef.h>\nvoid* mi_malloc(size_t);\nvoid* mi_heap_new(void);\n"
                      + HOLDER.replace("malloc(kBytes)", "mi_heap_new() ? mi_malloc(kBytes) : 0"))
    subprocess.run(["gcc", "-O1", "-o", program, source, mimalloc_archive(t), "-lpthread"], check=True)
    rows = compared(t, program)
    t.check("beside it mimalloc" in rows["as shipped"]["serves"], f"as shipped: {rows['as shipped']['serves']}")
    t.check("inside serves some that are not seen" in rows["as shipped"]["remark"], rows["as shipped"]["remark"])
    t.check(all(not f or f["than_first"] is None for f in rows["system"]["latency"]["malloc"].values()), "held against nothing")
    t.check(not any(rows["as shipped"]["latency"]["malloc"].values()), f"times of some calls alone: {rows['as shipped']['latency']}")
    t.check(rows["as shipped"]["runs"][0]["after_load"]["other_allocators"], "what mimalloc holds is not there")
    t.check("main calls mi_heap_new" in (rows["system"]["runs"][0]["failure"] or ""), f"system: {rows['system']['runs'][0]}")
