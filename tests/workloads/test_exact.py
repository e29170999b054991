# SPDX-License-Identifier: Apache-2.0
"""Exact mode: nothing is estimated, so that a wrong site gets next to nothing, on small heaps as well."""
from __future__ import annotations

import os

import pytest

from support.framework import Test
from support.marks import backends, every_backend

from .judge import SiteTally, cause_complaints, close_complaints
from .test_causes import judge
from .workloads import BACKENDS, Run, run_workload

SEEDS = int(os.environ.get("WORKLOAD_SEEDS_EXACT", "1"))
MEGABYTES = 160
MOST_MISPLACED = 0.005


def book_complaints(run: Run) -> list[str]:
    """Figures of exact books that contradict themselves or one another."""
    report, wrong = run.report, []
    recording, totals = report["recording"], report["totals"]
    if recording["mode"] != "exact" or not recording["exact"]["since_start"]:
        return [f"mode {recording['mode']}, exact {recording['exact']}"]
    if report["before_recording"]["live_bytes"] != 0:
        wrong.append(f"{report['before_recording']['live_bytes']} bytes are older than books that began at the start")
    for name in ("live_bytes", "live_count", "allocated_bytes", "allocated_count", "temporary_count"):
        parts = sum(site[name] for site in report["sites"]) + report["other_sites"][name]
        if parts != totals[name]:
            wrong.append(f"{name}: sites sum to {parts}, the total is {totals[name]}")
    for site in report["sites"]:
        if not site["live_bytes_low"] == site["live_bytes"] == site["live_bytes_high"]:
            wrong.append(f"site {site['id']}: live bytes with an error")
        if site["peak_bytes"] < site["live_bytes"] or site["temporary_count"] > site["allocated_count"]:
            wrong.append(f"site {site['id']}: peak {site['peak_bytes']}, live {site['live_bytes']}, temporary "
                         f"{site['temporary_count']} of {site['allocated_count']}")
        sizes = site["sizes"]
        if sum(s["live_count"] for s in sizes) != site["live_count"] or any(s["from"] > s["to"] for s in sizes):
            wrong.append(f"site {site['id']}: {site['live_count']} live blocks, by size {sizes}")
    if totals["peak_bytes"] < totals["live_bytes"]:
        wrong.append(f"peak {totals['peak_bytes']} is below what is live, {totals['live_bytes']}")
    return wrong[:5]


@every_backend
@pytest.mark.timeout(240)
def test_pinned_pages(t: Test) -> None:
    tally, wrong = SiteTally(), []
    for seed in range(1, SEEDS + 1):
        run = run_workload(t, "pinned_pages", [MEGABYTES, seed], ALLOC_MODE="exact")
        tally.add(run.report, run.truth)
        wrong += [f"seed {seed}: {text}" for text in close_complaints(run.report)
                  + cause_complaints(run.report, run.truth) + book_complaints(run)]
        if run.report["ledger_about"]["by_pages"]:
            wrong.append(f"seed {seed}: divided by pages: {run.report['ledger_about']['by_pages']}")
    t.notes.append(tally.sentence())
    if tally.misplaced / tally.runs > MOST_MISPLACED:
        wrong.append("too much is charged to a wrong site")
    if tally.led < SEEDS:
        wrong.append("the pinning site does not lead the list")
    t.check(not wrong, f"{'; '.join(wrong)} | {tally.sentence()}")


@backends(*BACKENDS)
@pytest.mark.parametrize("name, megabytes", [("leak", 60), ("partly_touched", 200), ("cross_thread_frees", 60)])
def test_cause(t: Test, name: str, megabytes: int) -> None:
    run = run_workload(t, name, [megabytes, 1], ALLOC_MODE="exact")
    judge(t, run, *book_complaints(run))
