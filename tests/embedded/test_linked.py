# SPDX-License-Identifier: Apache-2.0
"""mimalloc and jemalloc linked statically into C and C++ programs."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.framework import Test
from support.marks import backends, group

from .programs import (BACKENDS, case, mimalloc_archive, mimalloc_source, redirected, require_refused, require_taken,
                       stripped)

JEMALLOC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.a")


def jemalloc_program(t: Test) -> Path:
    if not JEMALLOC.exists():
        t.skip(f"{JEMALLOC} is not installed (package libjemalloc-dev)")
    return case(t, "je_program.cpp", str(JEMALLOC), "-ldl", "-lm", output="je_program")


@backends(*BACKENDS)
def test_jemalloc_in_cpp(t: Test) -> None:
    program = jemalloc_program(t)
    plain = t.run([program], t.plain_env(), label="plain")
    t.check(int(re.findall(r"jemalloc has (\d+)", plain.stderr)[0]) > 100_000, f"it is not in use: {plain.stderr}")
    done = redirected(t, program)
    t.check(require_taken(t, done, "jemalloc and its own malloc") >= 30, f"too few entries: {done.stderr[-300:]}")
    t.equal(done.stdout, plain.stdout, "the program's output")
    # Its own constructor and mallctl() take a little for themselves.
    own = int(re.findall(r"jemalloc has (\d+)", done.stderr)[0])
    t.check(own < 32 * 1024, f"jemalloc has handed out {own} bytes")
    zeroes = int(re.findall(r"zeroed blocks take (\d+)", done.stderr)[0])
    t.check(zeroes < 16 << 20, f"zeroed blocks of 256 MiB take {zeroes} bytes")


def test_jemalloc_without_names(t: Test) -> None:
    done = redirected(t, stripped(t, jemalloc_program(t)))
    require_refused(t, done, "stripped.*jemalloc")


@backends(*BACKENDS)
@pytest.mark.timeout(900)
@group("cargo")
def test_mimalloc_in_c(t: Test) -> None:
    archive = mimalloc_archive(t)
    program = case(t, "mi_program.c", str(archive), output="mi_program", links=(archive,))
    done = redirected(t, program)
    t.check(require_taken(t, done, "mimalloc") >= 12, f"too few entry points: {done.stderr[-300:]}")
    t.equal(done.stdout, "ok\n", "the program's output")


@pytest.mark.timeout(900)
@group("cargo")
def test_mimalloc_with_a_heap_of_the_programs_own(t: Test) -> None:
    archive = mimalloc_archive(t)
    program = case(t, "mi_program.c", str(archive), "-DOWN_HEAP", output="mi_heap_program", links=(archive,))
    done = redirected(t, program)
    require_refused(t, done, r"main calls mi_heap_(new|destroy)")
    t.equal(done.stdout, "ok\n", "the program's output")


@pytest.mark.timeout(900)
@group("cargo")
def test_mimalloc_without_names(t: Test) -> None:
    archive = mimalloc_archive(t)
    program = stripped(t, case(t, "mi_program.c", str(archive), output="mi_program", links=(archive,)))
    done = redirected(t, program)
    require_refused(t, done, "stripped.*mimalloc")


@pytest.mark.timeout(900)
@group("cargo")
def test_mimalloc_and_link_time_optimisation(t: Test) -> None:
    """A real one: what the compiler leaves of mimalloc's functions in the program's own is not ours to judge."""
    source = mimalloc_source(t)
    program = case(t, "mi_program.c", "-O2", "-flto", "-w", "-DNDEBUG", f"-I{source.parent.parent / 'include'}",
                   output="mi_lto_program", links=(source,))
    done = redirected(t, program)
    require_refused(t, done, "inlined|which only the allocator itself may")
    t.equal(done.stdout, "ok\n", "the program's output")


INLINED = r'''
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
/* What link-time optimisation leaves of mi_malloc: its fast path in the caller, its slow path a function. */
static char pool[1 << 16];
static size_t used;
__attribute__((noinline)) void* _mi_malloc_generic(size_t n) { used += (n + 15) & ~15ul; return pool + used - n; }
__attribute__((noinline)) void* mi_malloc(size_t n) { return _mi_malloc_generic(n); }
__attribute__((noinline)) void mi_free(void* p) { used -= p == pool + 1; memset(pool + sizeof pool - 8, 0, 8); }
int main(void) {
  char* a = mi_malloc(10);
  char* b = _mi_malloc_generic(20);
  strcpy(a, "ok");
  puts(strcpy(b, a));
  mi_free(a);
  mi_free(b);
  return 0;
}
'''


def test_inlined_copies(t: Test) -> None:
    source, program = t.tmp / "inlined.c", t.tmp / "inlined"
    source.write_text(INLINED)
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-o", program, source], check=True)
    done = redirected(t, program)
    require_refused(t, done, "main calls _mi_malloc_generic, which only the allocator itself may")
    t.equal(done.stdout, "ok\n", "the program's output")


def test_other_allocators_own_names(t: Test) -> None:
    source, program = t.tmp / "tc.c", t.tmp / "tc"
    source.write_text("#include <stdio.h>\n#include <stddef.h>\nstatic char pool[4096];\n"
                      "void* tc_malloc(size_t n) { return pool + n; }\n"
                      "int main(void) { puts(tc_malloc(10) ? \"ok\" : \"\"); return 0; }\n")
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    require_refused(t, redirected(t, program), "tcmalloc, whose own function tc_malloc")


def test_nothing_inside(t: Test) -> None:
    done = redirected(t, Path(shutil.which("true") or "/bin/true"))
    t.check("taken over" not in done.stderr and "error" not in done.stderr, f"stderr: {done.stderr}")
