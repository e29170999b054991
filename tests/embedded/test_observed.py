# SPDX-License-Identifier: Apache-2.0
"""Allocators inside the executable that go on serving, while their calls are recorded (ALLOC_EMBEDDED=observe)."""
from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from support.framework import Finished, Test
from support.report_schema import expanded, faults_of
from support.reports import Report, ask, load

from .programs import case, holding, predicted, redirected, require_said, require_taken
from .programs import require_refused as refused_with

OBSERVED = re.compile(r"^mallard: (.*) inside the executable serves, and is observed: (\d+) entry points$", re.M)
REFUSED = re.compile(r"^mallard: error: (.*) is not (?:observed|examined): (.*); it goes on by itself", re.M)
FLAGS = {
    "pie": ("-rdynamic",),
    "no_pie": ("-rdynamic", "-no-pie"),
    "endbr64": ("-rdynamic", "-fcf-protection=full"),
    "unoptimised": ("-rdynamic", "-O0"),
    "fast": ("-rdynamic", "-O2", "-fno-stack-protector"),
    "large": ("-rdynamic", "-O3", "-funroll-loops"),
}


def observed(t: Test, program: Path, *words: str, expect: int | None = 0, label: str = "", **env: str) -> Finished:
    env = {"ALLOC_EMBEDDED": "observe", "ALLOC_VERBOSE": "1"} | env
    done = t.run([program, *words], t.preload_env(**env), expect=expect, label=label)
    if "without a disassembler" in done.stderr:
        t.skip("this build has no disassembler (scripts/get-zydis)")
    return done


def require_observed(t: Test, done: Finished, what: str) -> int:
    """\return how many entry points are observed"""
    return require_said(t, done, OBSERVED, what)


def require_refused(t: Test, done: Finished, why: str) -> None:
    refused_with(t, done, why, REFUSED, OBSERVED)


def exit_report(t: Test, label: str, program: Path, **env: str) -> tuple[Finished, Report]:
    folder = t.dir / label
    folder.mkdir()
    done = observed(t, program, label=label, ALLOC_AT_EXIT="1", ALLOC_REPORT=str(folder / "r.%p.%n"), **env)
    report = load(next(folder.glob("*.json")))
    assert report
    return done, report


def from_outside(t: Test, pid: int) -> Report:
    done = t.run([t.build / "mallard", "dump", "--json", str(pid)], t.plain_env(), label="dump")
    data = json.loads(done.stdout)
    t.equal(data["reason"], "dump", f"how the report was taken: {done.stderr[-300:]}")
    t.equal(faults_of(data), [], "departures from the schema")
    return Report(t.dir / "outside", expanded(data), "")


def functions(site: dict) -> list[str]:
    return [frame["function"] or "" for frame in site["stack"]]


def books_of(report: Report, site: str) -> list[int]:
    """What the report says of all call sites whose stacks have the function."""
    rows = [s for s in report.data["sites"] if site in functions(s)]
    return [sum(row[key] for row in rows) for key in ("live_count", "live_bytes", "allocated_count", "allocated_bytes")]


def require_same_books(t: Test, done: Finished, report: Report, what: str) -> None:
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("by_")]
    t.equal(len(told), 8, "call sites that the program keeps books of")
    for site, *figures in told:
        t.equal(books_of(report, site), [int(f) for f in figures], f"{what}: {site}")


def test_every_call_counts_once(t: Test) -> None:
    """Against the program's own books, to the byte: its malloc family calls itself in every way. A mean of 1 byte
    makes each allocation a sample."""
    for name, flags in FLAGS.items():
        program = case(t, "inner_calls.c", *flags, output=f"inner_{name}")
        for mode in ("exact", "sample"):
            done, report = exit_report(t, f"{name}-{mode}", program, ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="1")
            t.equal(require_observed(t, done, "its own malloc"), 8, f"entry points of {name}")
            require_same_books(t, done, report, f"{name}, {mode}")


def test_samples_are_within_their_error(t: Test) -> None:
    program = case(t, "inner_calls.c", *FLAGS["pie"], output="inner_pie")
    done, report = exit_report(t, "sample", program, ALLOC_SAMPLE_BYTES="2K")
    made = sum(int(line.split()[4]) for line in done.stdout.splitlines() if line.startswith("by_"))
    allocated = report.data["totals"]["allocated_bytes"]
    t.check(abs(allocated / made - 1) < 0.1, f"{made} bytes were allocated, samples say {allocated}")


def own_blocks(t: Test, done: Finished) -> int:
    found = re.search(r"own blocks: (\d+)", done.stderr)
    t.check(found, f"the program did not say how many blocks it handed out: {done.stderr[-300:]}")
    assert found
    return int(found[1])


def test_it_serves_all_blocks(t: Test) -> None:
    """A foreign block would end the program. What exact mode booked is what the allocator has handed out."""
    for name, flags in FLAGS.items():
        program = case(t, "own_allocator.c", *flags, output=f"watched_{name}")
        expected = t.run([program], t.plain_env(), label=f"plain-{name}")
        done, report = exit_report(t, name, program, ALLOC_MODE="exact")
        require_observed(t, done, "its own malloc")
        t.equal(done.stdout, expected.stdout, "the program's output")
        t.equal(report.data["totals"]["allocated_count"], own_blocks(t, done), f"blocks of {name}")
        backend = report.data["backend"]
        t.equal((backend["served"], backend["takeover"]["state"], backend["replaced"], backend["beside"]),
                (True, "observed", None, None), "who serves")
        t.equal(backend["path"], str(program), "backend.path")
        t.check("a malloc of its own, inside the program, observed: 7 entry points" in report.text,
                f"who serves: {report.text[:1500]}")
        t.equal(report.data["bound_elsewhere"], [], "nobody's calls go unseen")


def test_modes_change_while_it_runs(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="watched_pie")
    observed(t, program, label="able")  # else it is skipped
    with holding(t, program, "hold", ALLOC_EMBEDDED="observe", ALLOC_CONTROL="1", ALLOC_MODE="off") as pid:
        for mode in ("exact", "sample", "off", "exact", "sample"):
            t.run([t.build / "mallard", "mode", str(pid), mode], t.plain_env(), label=f"mode-{mode}")


def test_call_sites_and_the_report_from_outside(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="watched_pie")
    observed(t, program, label="able")  # else it is skipped
    with holding(t, program, "hold", ALLOC_EMBEDDED="observe", ALLOC_SAMPLE_BYTES="16K") as pid:
        inside, outside = ask(pid, t.dir)[0], from_outside(t, pid)
    for report, where in ((inside, "inside"), (outside, "outside")):
        site = max(report.data["sites"], key=lambda s: s["live_bytes"])
        t.equal(functions(site)[0], "main", f"the call site with the most live memory, from {where}")
        t.check(abs(site["live_bytes"] / 8e6 - 1) < 0.2, f"8 MB are live there, not {site['live_bytes']}")
        t.equal(report.data["backend"]["takeover"]["state"], "observed", f"backend.takeover.state, from {where}")


def goes_on_by_itself(t: Test, source: str, output: str, flags: tuple[str, ...], why: str,
                      foretold: bool = True) -> None:
    program = case(t, source, "-rdynamic", *flags, output=output)
    expected = t.run([program], t.plain_env(), label=f"plain-{output}")
    done = observed(t, program)
    require_refused(t, done, why)
    t.equal(done.stdout, expected.stdout, "the program's output")
    found = predicted(t, program, "observable")
    t.equal(found.startswith("not_observable"), foretold, f"mallard check of {output}: {found}")


@pytest.mark.parametrize("output, flags, why, foretold", [
    ("watched_early", ("-DEARLY_USER", "-Wl,-z,now"), "used already", False),
    ("watched_thread", ("-DEARLY_THREAD", "-Wl,-z,now"), "a thread runs already", False),
    ("watched_changed", ("-DEARLY_CHANGE", "-fpatchable-function-entry=8", "-Wl,-z,now"), "code in memory differs", False),
    ("watched_full", ("-DEARLY_FULL", "-Wl,-z,now"), "no free memory within 1 GiB", False),
    ("watched_ifunc", ("-DIFUNC",), "memalign is chosen at load time", True),
    ("watched_short", ("-DSHORT",), "free is too short for a jump|begins within the first bytes|cannot be moved", True),
    ("watched_no_free", ("-DNO_FREE",), "malloc without free", True),
    ("watched_inlined", ("-DINLINED", "-O2"), "calls take, which only the allocator itself may", True),
])
def test_refused_as_redirect_is(t: Test, output: str, flags: tuple[str, ...], why: str, foretold: bool) -> None:
    goes_on_by_itself(t, "own_allocator.c", output, flags, why, foretold)


def test_a_jump_back_into_the_first_bytes(t: Test) -> None:
    goes_on_by_itself(t, "inner_calls.c", "inner_old_style", ("-DOLD_STYLE",), "free jumps back into the first bytes of free")


def test_strict(t: Test) -> None:
    program = case(t, "own_allocator.c", "-rdynamic", "-DIFUNC", output="watched_ifunc")
    done = observed(t, program, expect=78, ALLOC_STRICT="1")
    t.check("not started" in done.stderr, f"stderr: {done.stderr[-300:]}")


THROWS = r"""
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
extern "C" __attribute__((visibility("default"), noinline)) void* malloc(std::size_t n) {
  static char memory[1 << 22];
  static std::size_t used;
  if (used > sizeof memory) std::abort();
  if (n > sizeof memory - used) return nullptr;
  used += (n + 15) & ~std::size_t{15};
  return memory + used - ((n + 15) & ~std::size_t{15});
}
extern "C" __attribute__((visibility("default"), noinline)) void free(void* p) {
  static volatile long freed;
  if (p) freed = freed + 1;
  if (freed < 0) std::abort();
}
__attribute__((visibility("default"), noinline)) void* operator new(std::size_t n) {
  if (void* p = malloc(n)) return p;
  throw std::bad_alloc();
}
__attribute__((visibility("default"), noinline)) void operator delete(void* p) noexcept { free(p); }
__attribute__((visibility("default"), noinline)) void operator delete(void* p, std::size_t) noexcept { free(p); }
int main() {
  int caught = 0;
  for (int i = 0; i < 1000; i++) {
    try {
      void* volatile p = ::operator new(std::size_t{1} << 30);
      (void)p;
    } catch (const std::bad_alloc&) {
      caught++;
    }
    delete new int(i);
  }
  std::printf("caught %d\n", caught);
}
"""


@pytest.mark.parametrize("mode", ["sample", "exact", "off"])
def test_exceptions_pass_through(t: Test, mode: str) -> None:
    source, program = t.tmp / "throws.cpp", t.tmp / "throws"
    source.write_text(THROWS)
    subprocess.run(["g++", "-O1", "-fno-builtin", "-rdynamic", "-o", program, source], check=True)
    done = observed(t, program, ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="16")
    require_observed(t, done, "its own malloc")
    t.equal(done.stdout, "caught 1000\n", "the program's output")


# GCC keeps the count of the loop in a register that this malloc and free do not change, and a watcher does.
KNOWN_REGISTERS = r"""
#include <stdio.h>
#include <stdlib.h>
static char memory[1 << 22];
static size_t used;
static void* list;
__attribute__((noinline, noclone)) void* malloc(size_t n) {
  if (n <= 64 && list) {
    void* p = list;
    list = *(void**)p;
    return p;
  }
  void* p = memory + used;
  used += n < 64 ? 64 : (n + 15) & ~(size_t)15;
  return p;
}
__attribute__((noinline, noclone)) void free(void* p) {
  if (!p) return;
  *(void**)p = list;
  list = p;
}
__attribute__((noinline, noclone)) void* calloc(size_t a, size_t b) { return malloc(a * b < 65 ? 65 : a * b); }
__attribute__((noinline, noclone)) void* realloc(void* p, size_t n) { return p ? abort(), p : malloc(n); }
int main(void) {
  long sum = 0;
  for (int i = 0; i < 100000; i++) {
    void* volatile p = malloc(64);
    free(p);
    sum += i;
  }
  printf("sum %ld\n", sum);
  return 0;
}
"""


def test_registers_that_a_leaf_leaves_alone(t: Test) -> None:
    source, program = t.tmp / "leaf.c", t.tmp / "leaf"
    source.write_text(KNOWN_REGISTERS)
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-o", program, source], check=True)
    done = observed(t, program, ALLOC_SAMPLE_BYTES="64")
    require_refused(t, done, "calls nothing outside of the program")
    t.equal(done.stdout, "sum 4999950000\n", "the program's output")
    t.check(predicted(t, program, "observable").startswith("not_observable"), "mallard check does not foretell it")
    redirect = redirected(t, program, ALLOC_SAMPLE_BYTES="64")
    refused_with(t, redirect, "calls nothing outside of the program")
    t.equal(redirect.stdout, "sum 4999950000\n", "the program's output under redirect")
    t.check(predicted(t, program, "redirectable").startswith("not_redirectable"), "mallard check does not foretell redirect")


# What else hides that a malloc calls nothing: a neighbour's jump of two bytes, helpers without a name, a jump within the
# function by a pointer in memory.
HIDDEN = {
    "neighbour": (("void free(", "void* take(size_t n) { return malloc(n); }\n__attribute__((noinline, noclone)) void free("),
                  ("= malloc(64)", "= take(64)")),
    "helper": (("__attribute__((noinline, noclone)) void* malloc(size_t n) {", """static __attribute__((noinline, noclone)) void* found(size_t n) {"""),
               ("__attribute__((noinline, noclone)) void free(", """__attribute__((noinline, noclone)) void* malloc(size_t n) { return found(n + (n == 0)); }
__attribute__((noinline, noclone)) void free(""")),
    "pointer": (("static void* list;", "static void* list;\nstruct places { void* first; };"),
                ("void* malloc(size_t n) {", """void* malloc(size_t n) {
  static struct places places, *volatile in_force = &places;
  places.first = &&here;
  goto *in_force->first;
here:"""),),
}


@pytest.mark.parametrize("is_stripped", [False, True])
@pytest.mark.parametrize("how", HIDDEN)
def test_registers_of_a_leaf_that_hides(t: Test, how: str, is_stripped: bool) -> None:
    source, program = t.tmp / f"{how}.c", t.tmp / how
    text = KNOWN_REGISTERS.replace("if (!p) return;", 'if (!p) { puts("nothing"); return; }')  # free is none
    for old, new in HIDDEN[how]:
        assert old in text
        text = text.replace(old, new, 1)
    source.write_text(text)
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-rdynamic", *(["-s"] if is_stripped else []), "-o", program, source], check=True)
    for run in (observed, redirected):
        done = run(t, program, label=run.__name__, ALLOC_SAMPLE_BYTES="64")
        t.equal(done.stdout, "sum 4999950000\n", f"the program's output, {run.__name__}")
        t.check("alloc calls nothing outside of the program" in done.stderr or "short jump to malloc" in done.stderr,
                f"{run.__name__}: it is not refused: {done.stderr[-300:]}")


def test_registers_of_a_malloc_that_goes_on_by_a_pointer(t: Test) -> None:
    """Whom it calls nobody knows, and so nobody knows their registers; as in chromium's, the last call is a jump."""
    source, program = t.tmp / "hooks.c", t.tmp / "hooks"
    hooked = KNOWN_REGISTERS.replace("void* malloc(size_t n)", "void* own_malloc(size_t n)").replace(
        "void free(void* p)", "void own_free(void* p)").replace("__attribute__((noinline, noclone)) void* calloc", """
struct hooks { long number; void* (*allocate)(size_t); void (*give_back)(void*); };
static struct hooks plain = {0, own_malloc, own_free};
struct hooks* volatile in_force = &plain;
__attribute__((noinline, noclone)) void* malloc(size_t n) { return in_force->allocate(n); }
__attribute__((noinline, noclone)) void free(void* p) { in_force->give_back(p); }
__attribute__((noinline, noclone)) void* calloc""")
    source.write_text(hooked)
    for flags in (("-O2",), ("-O2", "-mindirect-branch-register")):
        subprocess.run(["gcc", *flags, "-fno-builtin", "-o", program, source], check=True)
        replaced = redirected(t, program, ALLOC_SAMPLE_BYTES="64")
        require_taken(t, replaced, "its own malloc")
        t.equal(replaced.stdout, "sum 4999950000\n", "the program's output")


def test_registers_of_a_leaf_that_is_called_by_a_pointer(t: Test) -> None:
    """Such a caller knows nothing of them, and nothing stands against it."""
    source, program = t.tmp / "by_pointer.c", t.tmp / "by_pointer"
    source.write_text(re.sub(r"(?<!\*) malloc\(", " allocate(", KNOWN_REGISTERS).replace("free(p);", "give_back(p);").replace(
        "<stdlib.h>", "<stdlib.h>\nvoid* (*volatile allocate)(size_t) = malloc;\nvoid (*volatile give_back)(void*) = free;"))
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-o", program, source], check=True)
    watched = observed(t, program, ALLOC_SAMPLE_BYTES="64")
    require_observed(t, watched, "its own malloc")
    replaced = redirected(t, program, ALLOC_SAMPLE_BYTES="64")
    require_taken(t, replaced, "its own malloc")
    t.equal((watched.stdout, replaced.stdout), ("sum 4999950000\n",) * 2, "the program's outputs")


@pytest.mark.parametrize("every", ["1", "64"])
def test_calls_are_timed(t: Test, every: str) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="watched_pie")
    done, report = exit_report(t, f"timed-{every}", program, ALLOC_LATENCY="1", ALLOC_LATENCY_EVERY=every)
    require_observed(t, done, "its own malloc")
    operations = {row["operation"]: row["timed"] for row in report.data["latency"]["calls"] if row["all_sizes"]}
    t.check(all(operations.get(name, 0) > 0 for name in ("malloc", "calloc", "realloc", "aligned", "free")),
            f"operations that were timed: {operations}")


def test_mallard_run(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="watched_pie")
    observed(t, program, label="able")  # else it is skipped
    done = t.run([t.build / "mallard", "run", "--embedded", "observe", "--", program], t.plain_env(), label="run")
    t.check("warning" not in done.stderr, f"stderr: {done.stderr[-400:]}")
    t.check(own_blocks(t, done) > 8000, "its own allocator was not used")
