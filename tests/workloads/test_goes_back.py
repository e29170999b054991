# SPDX-License-Identifier: Apache-2.0
"""What a report says goes back if a site's blocks leave, held against a program whose sites do leave."""
from __future__ import annotations

from typing import Any

import pytest

from support.framework import Test
from support.marks import backends

from .workloads import BACKENDS, run_workload

MEGABYTES = 80
MOST_OFF = 0.10
# What is freed is given back at once: no thread caches, no delays.
AT_ONCE = {"MALLOC_CONF": "tcache:false", "MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_DECOMMIT_DELAY": "0"}
SITES = ("keep_note", "keep_session", "keep_entry", "keep_table")


def site_of(report: dict[str, Any], function: str) -> dict[str, Any]:
    found = [s for s in report["sites"] if any(f["function"] == function for f in s["stack"][:2])]
    assert len(found) == 1, function
    return found[0]


def is_off(said: float, gone: float) -> bool:
    """Beyond a tenth, and beyond the pages that the child itself writes to."""
    return abs(said - gone) > MOST_OFF * max(said, gone) + (256 << 10)


@backends(*BACKENDS)
@pytest.mark.timeout(120)
def test_what_leaves_goes_back(t: Test) -> None:
    run = run_workload(t, "goes_back", [MEGABYTES, 1], ALLOC_MODE="exact", **AT_ONCE)
    report, gone = run.report, {name.strip(): n for name, n in run.truth.items()}
    wrong, said = [], []
    pinned = report["pinned"]
    t.check(pinned["known"], f"who pins what is not known: {report['ledger_about']}")
    for function in SITES:
        site = site_of(report, function)
        said.append(f"{function} {site['alone_bytes'] / 1e6:.2f} of {gone[function] / 1e6:.2f} MB, "
                    f"share {site['resident_bytes'] / 1e6:.2f}")
        if is_off(site["alone_bytes"], gone[function]):
            wrong.append(said[-1])
    both = sorted(site_of(report, function)["id"] for function in SITES[:2])
    together = next((s for s in pinned["sets"] if s["sites"] == both), {"bytes": 0, "together_bytes": 0})
    went = gone["keep_note keep_session"]
    said.append(f"both {together['together_bytes'] / 1e6:.2f} of {went / 1e6:.2f} MB")
    if is_off(together["together_bytes"], went) or together["bytes"] < 10e6:
        wrong.append(said[-1])
    whole = report["ledger_about"]["pinned_bytes"]
    parts = sum(pinned[f"{name}_bytes"] for name in ("alone", "joint", "unknown"))
    if not 0.98 * whole <= parts <= 1.001 * whole:
        wrong.append(f"{parts} of {whole} pinned bytes have owners")
    t.notes.append("; ".join(said))
    t.check(not wrong, "; ".join(wrong))
