# SPDX-License-Identifier: Apache-2.0
"""mimalloc and jemalloc inside C, C++ and Rust programs that are observed: they serve, C code beside them is served by
the backend, and both are on the books."""
from __future__ import annotations

import re
import subprocess

import pytest

from support.framework import Test
from support.marks import backends, extra, group
from support.reports import Report, ask

from .programs import EXTRA_VARIANTS, OVERRIDES, VARIANTS, case, holding, mimalloc_archive, rust_program, stripped, whose
from .test_linked import JEMALLOC, jemalloc_program
from .test_observed import exit_report, from_outside, functions, observed, require_observed, require_refused

pytestmark = group("cargo")


def held(t: Test, variant: str, **env: str) -> tuple[Report, Report]:
    """Reports from inside and from outside, while the program holds 20 MB."""
    env = {"ALLOC_EMBEDDED": "observe", "ALLOC_SAMPLE_BYTES": "16K"} | env
    with holding(t, rust_program(t, variant), "hold", label=f"hold-{variant}", **env) as pid:
        return ask(pid, t.dir)[0], from_outside(t, pid)


def line(report: Report, cause: str) -> int:
    return next(part["bytes"] for part in report.data["ledger"] if part["cause"] == cause)


@pytest.mark.parametrize("variant", [*VARIANTS, *(pytest.param(name, marks=extra) for name in EXTRA_VARIANTS)])
@pytest.mark.timeout(900)
def test_rust(t: Test, variant: str) -> None:
    program = rust_program(t, variant)
    expected = t.baseline(f"rust-{variant}", lambda: t.run([program], t.plain_env(), label="plain").stdout)
    done = observed(t, program)
    t.check(require_observed(t, done, whose(variant)) >= 5, f"too few entry points: {done.stderr[-300:]}")
    t.equal(done.stdout, expected, "the program's output")

    for report, where in zip(held(t, variant), ("inside", "outside")):
        data = report.data
        backend = data["backend"]
        t.equal((backend["name"], backend["path"], backend["takeover"]["state"]),
                (whose(variant).split()[0], str(program), "observed"), f"who serves, from {where}")
        is_beside = not variant.endswith(OVERRIDES)
        t.equal((backend["beside"] or "").startswith("glibc 2."), is_beside, f"who serves malloc: {backend['beside']}")
        rust = [site for site in data["sites"] if any("hold_in_rust" in name for name in functions(site))]
        live = sum(site["live_bytes"] for site in rust)
        t.check(abs(live / 20e6 - 1) < 0.25, f"hold_in_rust has 20 MB live, the report from {where} says {live}")
        t.check(any("mdb_" in name for site in data["sites"] for name in functions(site)),
                "no call site in LMDB's C code is there")
        # mimalloc's and jemalloc's functions that tell sizes are in some of them: where not, by the heap's form.
        t.check(data["ledger_about"]["divided"], f"not divided from {where}: {data['ledger_about']['not_divided_why']}")
        t.check(0.75 * 20e6 < line(report, "live") < 1.4 * 20e6, f"{line(report, 'live')} bytes are live, from {where}")
        resident = sum(site["resident_bytes"] or 0 for site in rust)
        t.check(resident > 0.75 * 20e6, f"{resident} bytes of hold_in_rust are in memory, from {where}")


@pytest.mark.timeout(900)
def test_exact_books_of_both_families(t: Test) -> None:
    """Every block of the function in Rust, by mimalloc, and those of LMDB's C code, by glibc."""
    for report in held(t, "mimalloc3", ALLOC_MODE="exact"):
        data = report.data
        t.equal(data["recording"]["mode"], "exact", "mode")
        rust = [site for site in data["sites"] if any("hold_in_rust" in name for name in functions(site))]
        t.equal(sum(site["live_bytes"] for site in rust), 4000 * 5000 + 4000 * 24, "live bytes of hold_in_rust")
        t.equal(sum(site["live_count"] for site in rust), 4001, "live blocks of hold_in_rust")
        lmdb = [site for site in data["sites"] if any("mdb_" in name for name in functions(site))]
        t.check(sum(site["live_bytes"] for site in lmdb) > 3e6, "LMDB keeps pages and lists")


@pytest.mark.timeout(900)
def test_what_was_allocated_is_the_same_whoever_serves(t: Test) -> None:
    """One program, four allocators, observed in exact mode: the same blocks; of other sizes are only those that hold the
    program's name and its process id."""
    counts, sizes = {}, []
    for variant in VARIANTS:
        _, report = exit_report(t, variant, rust_program(t, variant), ALLOC_MODE="exact")
        totals = report.data["totals"]
        counts[variant] = (totals["allocated_count"], totals["live_count"])
        sizes.append(totals["allocated_bytes"])
    t.equal(len(set(counts.values())), 1, f"what was allocated differs: {counts}")
    t.check(max(sizes) - min(sizes) < 256, f"allocated bytes: {sizes}")


@backends("jemalloc", "mimalloc3")
@pytest.mark.timeout(900)
def test_beside_another_backend(t: Test) -> None:
    """Rust is served by its jemalloc, C code by the backend that was chosen."""
    program = rust_program(t, "jemalloc")
    expected = t.baseline("rust-jemalloc", lambda: t.run([program], t.plain_env(), label="plain").stdout)
    done, report = exit_report(t, "beside", program, ALLOC_MODE="exact")
    t.equal(done.stdout, expected, "the program's output")
    name = t.backend.value.rstrip("23")
    t.check((report.data["backend"]["beside"] or "").startswith(name), f"beside it: {report.data['backend']['beside']}")


@pytest.mark.timeout(900)
def test_mimalloc_in_c(t: Test) -> None:
    archive = mimalloc_archive(t)
    program = case(t, "mi_program.c", str(archive), output="mi_program", links=(archive,))
    for mode in ("sample", "exact"):
        done = observed(t, program, ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="4K", label=mode)
        t.check(require_observed(t, done, "mimalloc") >= 12, f"too few entry points: {done.stderr[-300:]}")
        t.equal(done.stdout, "ok\n", "the program's output")


@pytest.mark.timeout(900)
def test_mimalloc_is_refused_as_redirect_refuses_it(t: Test) -> None:
    archive = mimalloc_archive(t)
    program = case(t, "mi_program.c", str(archive), output="mi_program", links=(archive,))
    done = observed(t, stripped(t, program), label="stripped")
    require_refused(t, done, "stripped.*mimalloc")
    program = case(t, "mi_program.c", str(archive), "-DOWN_HEAP", output="mi_heap_program", links=(archive,))
    done = observed(t, program, label="heap")
    require_refused(t, done, r"main calls mi_heap_(new|destroy)")
    t.equal(done.stdout, "ok\n", "the program's output")


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_jemalloc_in_cpp(t: Test, mode: str) -> None:
    program = jemalloc_program(t)
    plain = t.run([program], t.plain_env(), label="plain")
    done, report = exit_report(t, "observed", program, ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="4K")
    t.check(require_observed(t, done, "jemalloc and its own malloc") >= 30, f"too few entries: {done.stderr[-300:]}")
    t.equal(done.stdout, plain.stdout, "the program's output")
    backend = report.data["backend"]
    t.check(backend["name"] == "jemalloc" and re.fullmatch(r"5\.\d\.\d", backend["version"]), f"who serves: {backend}")
    t.check(f"jemalloc {backend['version']}, inside the program, observed" in report.text, "the text says who serves")
    t.check(report.data["ledger_about"]["divided"], f"not divided: {report.data['ledger_about']['not_divided_why']}")


KEEPS = r"""
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int mallctl(const char*, void*, size_t*, void*, size_t);
static void* kept[20000];
static size_t allocated(void) {
  size_t epoch = 1, bytes = 0, size = sizeof bytes;
  mallctl("epoch", &epoch, &size, &epoch, sizeof epoch);
  mallctl("stats.allocated", &bytes, &size, NULL, 0);
  return bytes;
}
__attribute__((noinline)) static void keep(void) {
  for (int i = 0; i < 20000; i++) memset(kept[i] = malloc(1024), 1, 1024);
}
int main(void) {
  size_t before = allocated();
  keep();
  for (int i = 0; i < 20000; i++) kept[i] = realloc(kept[i], i % 2 ? 2048 : 512);
  for (int i = 0; i < 5000; i++) free(kept[i]);
  printf("%zu\n", allocated() - before);
  if (malloc_usable_size(kept[6000]) < 512) return 1;
  return getchar() == EOF ? 0 : 1;
}
"""


def test_against_jemallocs_own_statistics(t: Test) -> None:
    """What exact mode has live in main is what jemalloc says that it has handed out meanwhile: its size classes are the
    sizes that are asked for."""
    if not JEMALLOC.exists():
        t.skip(f"{JEMALLOC} is not installed (package libjemalloc-dev)")
    source, program = t.tmp / "keeps.c", t.tmp / "keeps"
    source.write_text(KEEPS)
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-o", program, source, JEMALLOC, "-pthread", "-ldl", "-lm", "-lstdc++"], check=True)
    done, report = exit_report(t, "keeps", program, ALLOC_MODE="exact")
    require_observed(t, done, "jemalloc and its own malloc")
    told = int(done.stdout.split()[0])
    rows = [site for site in report.data["sites"] if functions(site)[0] == "main" and site["live_count"] > 1000]
    live = sum(site["live_bytes"] for site in rows)
    t.equal(live, 15000 // 2 * (512 + 2048), "bytes that are live at main's realloc")
    t.check(abs(told - live) < 65536, f"jemalloc has handed out {told} bytes, {live} are on the books")
