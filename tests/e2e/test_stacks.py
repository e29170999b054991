# SPDX-License-Identifier: Apache-2.0
"""What it takes to find the stacks of threads, and code that no file holds."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.compiler import build_case
from support.framework import Failure, Test
from support.reports import Report, load, report_files


@pytest.fixture(params=["", "without_maps_query.c"], ids=["by_query", "by_reading"])
def kernel(request: pytest.FixtureRequest) -> str:
    """The program that a case is run by; "": none."""
    return str(request.param)


def report_of(t: Test, case: str, mode: str, kernel: str) -> Report:
    env = t.preload_env(ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="1", ALLOC_AT_EXIT="1")
    t.run([build_case(t, name) for name in (kernel, case) if name], env, label=case)
    files = report_files(t.dir)
    report = load(Path(files[0])) if files else None
    if report is None:
        raise Failure(f"{case}: no report")
    return report


@pytest.mark.parametrize("mode", ["sample", "exact"], indirect=True)
def test_threads_do_not_read_the_mappings(t: Test, mode: str, kernel: str) -> None:
    stacks = report_of(t, "thread_stacks.c", mode, kernel).data["recording"]["stacks"]
    t.check(stacks["maps_readings"] <= 2, f"{stacks['maps_readings']} readings of the mappings for 64 threads")


@pytest.mark.parametrize("mode", ["sample", "exact"], indirect=True)
def test_generated_code_fills_no_table(t: Test, mode: str, kernel: str) -> None:
    report = report_of(t, "generated_code.c", mode, kernel)
    data = report.data
    late = [site for site in data["sites"] if any(frame["function"] == "keep_late" for frame in site["stack"][:3])]
    t.equal(sum(site["live_bytes"] for site in late), 10 << 20, "bytes of the function that came last")
    t.check(len(data["sites"]) < 1000, f"{len(data['sites'])} call sites")
    generated = [frame for frame in data["frames"] if frame["function"] == "[generated code]"]
    t.equal([frame["module"] for frame in generated], ["", ""], "modules of the two mappings of generated code")
    t.check("        [generated code]\n" in report.text, f"no generated code in the text:\n{report.text}")
    t.equal(data["recording"]["stacks"]["addresses_dropped"], 0, "addresses without room")
