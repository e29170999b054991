# SPDX-License-Identifier: Apache-2.0
"""The shortest programs of scripts/remedies: what is advised first helps, by about as much as was said."""
from __future__ import annotations

from support.framework import Test
from support.marks import backends

from .remedies import HELPED, Case, try_case

SHORT = ("top_after_large_frees", "buffers_between_entries")


@backends("system")
def test_what_is_advised_helps(t: Test) -> None:
    for case in HELPED:
        if case.program not in SHORT or case.backend != t.backend.name:
            continue
        outcome = try_case(case, t.build)
        t.check(outcome.is_right, f"{case.name}: {[r['name'] for r in outcome.remedies]} instead of {case.expected}")
        t.check(outcome.is_within, f"{case.name}: {outcome.first} predicted, {outcome.saved} bytes saved")


@backends("jemalloc", "mimalloc2")
def test_nothing_is_advised_where_all_is_live(t: Test) -> None:
    outcome = try_case(Case("all_live", t.backend.name, ""), t.build)
    t.check(not outcome.remedies, f"{outcome.remedies}")
