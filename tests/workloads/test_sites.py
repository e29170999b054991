# SPDX-License-Identifier: Apache-2.0
"""Resident memory by call site, on the heap that one site's survivors pin. docs/accuracy.md has the full figures."""
from __future__ import annotations

import os

import pytest

from support.framework import Test
from support.marks import backends

from .judge import SiteTally, cause_complaints, close_complaints, least_inside
from .workloads import BACKENDS, run_workload

SEEDS = int(os.environ.get("WORKLOAD_SEEDS", "8"))
MEGABYTES = 160
# At the default rate a heap of 160 MB gives a sixth of the samples of 1 GB, so 2.5 times the error of 4 %.
MOST_MISPLACED = 0.10


@backends(*BACKENDS)
@pytest.mark.timeout(240)
def test_pinned_pages(t: Test) -> None:
    tally = SiteTally()
    wrong = []
    for seed in range(1, SEEDS + 1):
        run = run_workload(t, "pinned_pages", [MEGABYTES, seed])
        tally.add(run.report, run.truth)
        wrong += [f"seed {seed}: {text}" for text in close_complaints(run.report)
                  + cause_complaints(run.report, run.truth)]
    t.notes.append(tally.sentence())
    if tally.intervals < 4 * SEEDS:
        wrong.append(f"only {tally.intervals} intervals")
    least = least_inside(tally.intervals)
    if tally.inside < least:
        wrong.append(f"{tally.inside} of {tally.intervals} intervals hold the truth, fewer than {least}")
    if tally.misplaced / tally.runs > MOST_MISPLACED:
        wrong.append("too much is charged to a wrong site")
    if tally.led < SEEDS - SEEDS // 8:  # the next site may come close, by the error of so few samples
        wrong.append("the pinning site does not lead the list")
    t.check(not wrong, f"{'; '.join(wrong)} | {tally.sentence()}")
