# SPDX-License-Identifier: Apache-2.0
"""A program with mimalloc inside whose C code has a heap of glibc's, too: both are divided, by whichever way it is
recorded."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.framework import Test, wait_until
from support.marks import group
from support.reports import Report, ask

from .programs import case, holding, mimalloc_archive
from .test_attached import attach, start
from .test_observed import from_outside, functions, observed, require_observed

pytestmark = group("cargo")
IN_MIMALLOC, IN_LIBC, SCATTERED, KEPT = 8e6, 30e6, 16e6, 2e6  # bytes of two_heaps.c


def program(t: Test) -> Path:
    archive = mimalloc_archive(t)
    return case(t, "two_heaps.c", "-fno-builtin", "-rdynamic", str(archive), output="two_heaps", links=(archive,))


def require_divided(t: Test, report: Report, error: float, where: str) -> None:
    data = report.data
    t.check(data["ledger_about"]["divided"], f"not divided, {where}: {data['ledger_about']['not_divided_why']}")
    line = {part["cause"]: part["bytes"] for part in data["ledger"]}
    t.check(abs(line["live"] / (IN_MIMALLOC + IN_LIBC + KEPT) - 1) < 0.04, f"{line['live']} bytes are live, {where}")
    free = SCATTERED - KEPT  # of 7 blocks in a row the middle may be whole pages
    t.check(0.9 * free < line["holes"] + line["retained"] < free + 10e6, f"free, {where}: {line}")
    t.check(line["anonymous"] < 1e6 and line["undivided"] == 0, f"memory is left that is not divided, {where}: {line}")
    for name, live, least in (("keep_in_mimalloc", IN_MIMALLOC, IN_MIMALLOC), ("keep_in_libc", IN_LIBC, IN_LIBC),
                              ("scatter_in_libc", KEPT, 2 * KEPT)):
        rows = [site for site in data["sites"] if functions(site)[0] == name]
        t.check(abs(sum(row["live_bytes"] for row in rows) / live - 1) <= error, f"live bytes of {name}, {where}: {rows}")
        resident = sum(row["resident_bytes"] for row in rows)
        t.check((1 - error) * least < resident < (1 + error) * (live + free), f"{resident} bytes of {name} in memory, {where}")
    others = {other["name"]: other["resident_bytes"] for other in data["embedded_allocators"]}
    t.check(others.get("glibc malloc", 0) > IN_LIBC, f"glibc's part of it is not told, {where}: {others}")


@pytest.mark.parametrize("mode,error", [("exact", 0.001), ("sample", 0.4)])
@pytest.mark.timeout(900)
def test_observed(t: Test, mode: str, error: float) -> None:
    require_observed(t, observed(t, program(t), label="able"), "mimalloc")
    env = {"ALLOC_EMBEDDED": "observe", "ALLOC_MODE": mode, "ALLOC_SAMPLE_BYTES": "16K"}
    with holding(t, program(t), **env) as pid:
        inside, outside = ask(pid, t.dir)[0], from_outside(t, pid)
    for report, where in ((inside, "from inside"), (outside, "from outside")):
        require_divided(t, report, error, where)
        backend = report.data["backend"]
        t.equal(backend["name"], "mimalloc", f"who serves, {where}")
        t.check(backend["beside"].startswith("glibc 2."), f"who serves malloc, {where}: {backend['beside']}")
    t.check("for those who call that: recorded, too\n" in inside.text, f"its heap is not called one line: {inside.text[:1500]}")


@pytest.mark.timeout(900)
def test_attached(t: Test) -> None:
    """glibc's heap is the larger one, and is asked block by block."""
    process = start(t, program(t), "later", until="waiting")
    attach(t, process.pid, "--mode", "exact")
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 30, "the program to be ready")
    require_divided(t, from_outside(t, process.pid), 0.001, "attached")
    process.communicate(b"")
    t.finish(process)


@pytest.mark.timeout(900)
def test_numbers_like_a_header_of_glibcs(t: Test) -> None:
    """Seen from outside: what mimalloc's map describes is mimalloc's, whatever stands in it."""
    process = start(t, program(t), "headers", until="ready")
    done = t.run([t.build / "mallard", "inspect", "--leaks", "--json", str(process.pid)], t.plain_env(), label="inspect")
    report = json.loads(done.stdout)
    t.equal(report["backend"]["name"], "mimalloc", "the heap that is divided")
    lost = report["lost"]
    t.check(lost["done"] and lost["examined_blocks"] >= 100_000, f"blocks that were looked at: {lost}")
    t.equal(lost["blocks"], 0, f"blocks called lost: {lost['groups']}")
    process.communicate(b"")
    t.finish(process)
