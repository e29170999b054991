# SPDX-License-Identifier: Apache-2.0
"""ALLOC_LATENCY: stalls of known lengths are found again, by operation, size and call site; the correctness cases are
right while calls are timed, in every mode."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.backends import Backend
from support.compiler import build_case
from support.framework import CASES_DIR, Test
from support.idle import finish_idle, mallard_lines, start_idle
from support.marks import every_backend
from support.report_check import Expected, check_report
from support.reports import Report, ask_and_check, load, report_files

from .test_cases import directives, marks_of, run_case, wanted_backends

# ---- right while every third call is timed
CASES = [*sorted(path.name for path in [*CASES_DIR.glob("fn_*.c"), *CASES_DIR.glob("fn_*.cpp")]), "torture.c",
         "cancelled.c", "early_calls.c", "fork_busy.c", "handler_exits.c", "handler_forks.c", "many_threads.c",
         "sig_in_malloc.c", "small_stacks.c", "tls_destructors.cpp"]


def parameters() -> Iterator[Any]:
    for name in CASES:
        asked = directives(CASES_DIR / name)
        for backend, mode in (("system", "sample"), ("system", "off"), ("mimalloc2", "exact"), ("jemalloc", "sample")):
            if backend not in wanted_backends(asked, name):
                continue
            yield pytest.param(name, mode, backend, id=f"{Path(name).stem.removeprefix('fn_')}-{mode}-{backend}",
                               marks=marks_of(asked))


@pytest.mark.parametrize("name, mode, backend", parameters(), indirect=["mode", "backend"])
def test_case_while_timed(t: Test, name: str) -> None:
    asked = directives(CASES_DIR / name)
    extra = [*asked.get("ENV", []), "ALLOC_LATENCY=1", "ALLOC_LATENCY_EVERY=3"]
    run_case(t, CASES_DIR / name, {**asked, "ENV": extra})


# ---- known stalls
def row_of(report: Report, operation: str, up_to: int | None = None, all_sizes: bool = False) -> dict[str, Any]:
    return next(row for row in report.data["latency"]["calls"] if row["operation"] == operation and
                row["all_sizes"] == all_sizes and row["up_to_bytes"] == up_to)


def host_report(t: Test, small: int, large: int, **extra: str) -> Report:
    """What the host's calls of the backend with known stalls took."""
    path = build_case(t, "latency_backend.c", shared=True)
    env = t.preload_env(ALLOC_BACKEND=str(path), ALLOC_LATENCY="1", ALLOC_AT_EXIT="1", **extra)
    process = t.start([build_case(t, "latency_host.c"), str(small), str(large)], env)
    t.finish(process)
    report = load(report_files(t.dir)[0])
    assert report
    check_report(report.data, report.text, Expected(
        pid=process.pid, backend=Backend(path.name, str(path), r"^latency_backend\.so$", "")))
    return report


def near(t: Test, found: float | None, us: float, what: str) -> None:
    """The middle of the waits: some end late on a busy machine, none early."""
    t.check(found is not None and us * 1000 * 0.97 <= found <= us * 1000 * 1.03 + 4000,
            f"{what}: {found} ns and not {us} us")


def test_known_stalls_every_call(t: Test) -> None:
    report = host_report(t, 20_000, 400, ALLOC_LATENCY_EVERY="1", SMALL_US="150", LARGE_US="400", FREE_US="60")
    small, large, freed = (row_of(report, "malloc", 128), row_of(report, "malloc"),
                           row_of(report, "free", all_sizes=True))
    t.check(40_000 <= small["timed"] <= 40_200, f"{small['timed']} small mallocs were timed of 40,000")
    t.equal(large["timed"], 800, "large mallocs")
    # This backend has no malloc_usable_size: the size of what is freed is not known.
    t.check(40_800 <= freed["timed"] <= 41_000, f"{freed['timed']} frees were timed of 40,800")
    t.check(small["p50_ns"] < 20_000 and freed["p50_ns"] < 20_000, f"without a stall: {small}, {freed}")
    for row, us in ((small, 150), (large, 400), (freed, 60)):  # a fifth waits: p90 is the middle of the waits
        near(t, row["p90_ns"], us, f"p90 of {row['operation']} to {row['up_to_bytes']}")
        t.check(row["max_ns"] >= us * 1000, f"max: {row}")
    t.check(large["p99_9_ns"] is None and small["p99_99_ns"] is not None, "percentiles of too few calls")
    sites, frames = report.data["latency"]["slow"]["sites"], report.data["frames"]
    for function, operation, calls, us in (("small_block", "malloc", 8000, 150), ("large_block", "malloc", 160, 400),
                                           ("drop", "free", 8160, 60)):
        found = [s for s in sites if s["operation"] == operation and
                 any(frames[f]["function"] == function for f in s["stack"][:2])]
        stalls, total = sum(s["from_10_us"] for s in found), sum(s["sum_ns"] for s in found) / 1000
        t.check(calls <= stalls <= calls * 1.2 + 100, f"{stalls} calls from {function} took 10 us, and not {calls}")
        t.check(total >= calls * us * 0.97, f"{function}: {total} us together, and not {calls} times {us}")
        t.check(function in report.text, f"the text does not show {function}")


def test_a_share_has_the_same_percentiles(t: Test) -> None:
    report = host_report(t, 100_000, 0, ALLOC_LATENCY_EVERY="16", SMALL_US="20")
    small = row_of(report, "malloc", 128)
    # 200,000 calls, each with a chance of 1/16: 12,500, and five standard deviations.
    t.check(11_950 <= small["timed"] <= 13_050, f"{small['timed']} timed of 200,000")
    near(t, small["p90_ns"], 20, "p90")
    t.check(small["p50_ns"] < 10_000, f"p50 {small['p50_ns']}")
    t.check("a stall that came fewer than 47 times" in report.text, "what may be missing is not said")


@every_backend
def test_report_of_each_backend(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_LATENCY="1", ALLOC_LATENCY_EVERY="2"))
    report = ask_and_check(t, process)
    malloc = row_of(report, "malloc", all_sizes=True)
    t.check(700 < malloc["timed"] < 1500 and malloc["p99_ns"] >= malloc["p50_ns"] >= 0, f"{malloc}")
    t.check(malloc["p99_99_ns"] is None, "p99.99 of some thousand calls")
    t.check("Latency of the allocator's calls" in report.text, "the text does not show it")
    t.check(all(len(line) <= 80 for line in report.text.partition("Latency of")[2].partition("\nSlow")[0].splitlines()),
            "wider than 80 columns")
    finish_idle(t, process)


def test_off_by_default(t: Test) -> None:
    process = start_idle(t, t.preload_env())
    report = ask_and_check(t, process)
    t.equal(report.data["latency"], None, "latency")
    t.check("Latency" not in report.text, "the text shows latency")
    finish_idle(t, process)


def test_bad_values(t: Test) -> None:
    for value in ("0", "many", "1000001", "64K"):
        process = start_idle(t, t.preload_env(ALLOC_LATENCY="1", ALLOC_LATENCY_EVERY=value), label=value)
        done = finish_idle(t, process)
        t.check(any("is not a number of calls from 1 to 1000000" in line for line in mallard_lines(done.stderr)),
                f"{value}: no clear line: {done.stderr}")
