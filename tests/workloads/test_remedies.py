# SPDX-License-Identifier: Apache-2.0
"""The shortest programs of scripts/remedies: what is advised first helps, by about as much as was said."""
from __future__ import annotations

from support.framework import Test
from support.marks import backends

from .remedies import HELPED, MEGA, Case, run_program, try_case

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


@backends("mimalloc2", "mimalloc3")
def test_threads_collect_for_themselves_when_a_purge_is_asked_for(t: Test) -> None:
    case = Case("pages_of_busy_threads", t.backend.name, "")
    probe = run_program(case, t.build, ALLOC_PROBE="purge", ALLOC_SAMPLE_BYTES="64K")[1]["probe"]
    t.check(probe["given_back_bytes"] > 40 * MEGA, f"the threads gave back little: {probe}")
    t.check(" of 7 threads" in probe["leaves"], f"who has come by is not said: {probe}")
