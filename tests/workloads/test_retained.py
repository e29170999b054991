# SPDX-License-Identifier: Apache-2.0
"""What a report calls retained is what the allocator gives back when it is asked to."""
from __future__ import annotations

import pytest

from support.framework import Test
from support.marks import backends

from .workloads import run_workload


@backends("jemalloc", "tcmalloc")
@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_purge_gives_back_what_is_retained(t: Test, mode: str) -> None:
    report = run_workload(t, "pinned_pages", [60, 1], ALLOC_MODE=mode, ALLOC_PROBE="purge").report
    retained = next(line["bytes"] for line in report["ledger"] if line["cause"] == "retained")
    probe = report["probe"]
    t.check(probe["done"], f"no purge: {probe}")
    given_back = probe["rss_before_bytes"] - probe["rss_after_bytes"]
    t.check(abs(given_back - retained) < 0.01 * retained + (256 << 10),
            f"retained {retained}, a purge gave back {given_back}")
    t.check(retained > 2 << 20, f"the workload leaves only {retained} bytes to give back")
