# SPDX-License-Identifier: Apache-2.0
"""ALLOC_PROBE=purge: each report asks the allocator to give back its free pages, and no other report does."""
from __future__ import annotations

import signal

from support.framework import Test
from support.idle import finish_idle, mallard_lines, start_idle
from support.marks import every_backend
from support.reports import ask_and_check, check_written, report_files

CALLS = {"system": "malloc_trim(0)", "jemalloc": "arena.4096.purge", "mimalloc2": "mi_collect(true)",
         "mimalloc3": "mi_collect(true)", "tcmalloc": "MallocExtension::ReleaseFreeMemory"}


@every_backend
def test_purge(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_PROBE="purge"))
    for _ in range(2):
        report = ask_and_check(t, process)
        probe = report.data["probe"]
        t.equal((probe["kind"], probe["done"], probe["call"]), ("purge", True, CALLS[t.backend.name]), "probe")
        t.check(probe["rss_after_bytes"] <= probe["rss_before_bytes"] + 2**20, f"it grew: {probe}")
        t.check("Purge probe" in report.text, "the text does not show it")
    finish_idle(t, process)


@every_backend
def test_none_unless_asked(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_PROBE="none"))
    report = ask_and_check(t, process)
    t.equal(report.data["probe"], None, "probe")
    t.check("Purge probe" not in report.text, "the text shows a probe")
    finish_idle(t, process)


def test_not_at_exit(t: Test) -> None:
    """The last thread may have been interrupted inside the allocator."""
    process = start_idle(t, t.preload_env(ALLOC_PROBE="purge", ALLOC_AT_EXIT="1"))
    finish_idle(t, process)
    probe = check_written(t, report_files(t.dir)[0]).data["probe"]
    t.equal(probe["done"], False, "probe.done")
    t.check("ending" in probe["why_not"], f"why_not: {probe['why_not']}")


def test_bad_value(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_PROBE="purges"))
    done = finish_idle(t, process)
    t.check(any("ALLOC_PROBE='purges' is not none or purge" in line for line in mallard_lines(done.stderr)),
            f"no clear line: {done.stderr}")


def test_history_counts_reports(t: Test) -> None:
    process = start_idle(t, t.preload_env())
    for earlier in range(3):
        history = ask_and_check(t, process, signal.SIGUSR2).data["history"]
        t.equal(history["earlier_reports"], earlier, "earlier_reports")
        t.equal(history["since_first"] is not None, earlier > 0, "since_first")
    finish_idle(t, process)
