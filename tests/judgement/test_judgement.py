# SPDX-License-Identifier: Apache-2.0
"""A part of the corpus, one backend and mode each, and the rules that judge it. `scripts/judge` runs all of it."""
from __future__ import annotations

from typing import Any

import pytest

from support.framework import Test

from .corpus import cases, judge, run_series
from .matrix import Result, fault_line
from .services import Step

CHOSEN = [  # program, backend, mode, reports
    ("caches/loaded_in_two_steps", "system", "sample", 12),
    ("caches/empty_at_first_report", "jemalloc", "sample", 5),
    ("caches/hand_over", "mimalloc2", "sample", 9),
    ("caches/one_grows_another_shrinks", "mimalloc3", "exact", 9),
    ("rhythms/sawtooth", "jemalloc", "exact", 14),
    ("leaks/many_stacks", "system", "sample", 8),
    ("leaks/beside_a_file_map", "jemalloc", "sample", 8),
    ("leaks/kept_arena", "mimalloc2", "exact", 12),
    ("leaks/cache_without_a_bound", "mimalloc3", "sample", 7),
    ("pages/pinned_together", "jemalloc", "exact", 1),
    ("pages/caches_of_idle_threads", "jemalloc", "sample", 1),
    ("beside/private_pages_of_a_file", "system", "exact", 1),
    ("kernel/huge_pages_hardly_touched", "jemalloc", "sample", 1),
    ("kernel/huge_pages_of_zeros", "mimalloc2", "exact", 1),
    ("kernel/worker_that_writes", "system", "sample", 2),
    ("kernel/worker_that_touches_first", "system", "exact", 1),
]


@pytest.mark.parametrize("name, backend, mode, reports", CHOSEN, indirect=("backend", "mode"))
def test_series(t: Test, name: str, mode: str, reports: int) -> None:
    case = next(c for c in cases(t, name.split("/")[0]) if c.full_name == name)
    folder = t.dir / "series"
    folder.mkdir()
    faults = []
    for number, step in enumerate(run_series(t, case, mode, reports, folder), 1):
        judgement = judge(step)
        if not judgement.ok:
            faults.append(fault_line(case, t.backend.name, mode, number, step, judgement))
    t.check(not faults, "; ".join(faults))


def step(truth: dict[str, str], *findings: dict[str, Any]) -> Step:
    """A report with these findings, and one call site 1 in `keep`."""
    sites = [{"id": 1, "stack": [{"function": "malloc"}, {"function": "(anonymous namespace)::keep(int)"}]}]
    return Step({"state": "healthy", "causes": "", "leaf": "", "may": ""} | truth,
                {"findings": list(findings), "sites": sites})


def finding(cause: str, *sites: int) -> dict[str, Any]:
    return {"cause": cause, "sites": list(sites), "bytes": 20 << 20}


LEAK = {"state": "sick", "causes": "leak", "leaf": "keep"}


@pytest.mark.parametrize("given, expected", [
    (step({}), {}),
    (step({}, finding("mapped_files")), {}),
    (step({}, finding("leak", 1)), {"false": ["leak"]}),
    (step({"may": "retention"}, finding("retention")), {}),
    (step({"causes": "lazily_freed"}), {"missed": ["lazily_freed"]}),
    (step(LEAK, finding("leak", 1)), {"right": ["leak"]}),
    (step(LEAK, finding("leak")), {"misplaced": ["leak"]}),
    (step(LEAK, finding("retention")), {"missed": ["leak"], "false": ["retention"]}),
    (step(LEAK | {"causes": "leak stacks"}, finding("leak", 1)), {"right": ["leak"], "missed": ["stacks"]}),
    (step({"state": "sick", "causes": "retention|stacks"}, finding("stacks")), {"right": ["retention"]}),
])
def test_judge(given: Step, expected: dict[str, list[str]]) -> None:
    made = judge(given)
    assert {name: found for name in ("right", "missed", "misplaced", "false")
            if (found := getattr(made, name))} == expected


def test_table_counts_each_report_once(t: Test) -> None:
    result = Result()
    case = cases(t, "caches")[0]
    result.add(case, "system", "sample", [judge(step(LEAK, finding("leak", 1))), judge(step(LEAK)),
                                          judge(step({}, finding("stacks"))), judge(step({}))])
    table = result.tables()
    assert "| leak | 2 | 1 | 0 | 1 | 0 | 0 |" in table
    assert "| stacks | 0 | 0 | 0 | 0 | 1 | 0 |" in table
    assert "| system, sample | 1 | 1 of 2 | 1 of 2 | 50.0 % | 0 of 0 |" in table
