# SPDX-License-Identifier: Apache-2.0
"""Rust programs whose global allocator is mimalloc or jemalloc, with C (LMDB) and arenas inside."""
from __future__ import annotations

import pytest

from support.framework import Test
from support.marks import backends, extra, group
from support.reports import Report, ask

from .programs import BACKENDS, EXTRA_VARIANTS, VARIANTS, holding, redirected, require_taken, rust_program, whose

STARTS = 60
pytestmark = group("cargo")


def held(t: Test, variant: str, action: str, **env: str) -> Report:
    env = {"ALLOC_EMBEDDED": action, "ALLOC_SAMPLE_BYTES": "16K"} | env
    with holding(t, rust_program(t, variant), "hold", label=f"hold-{action}", **env) as pid:
        return ask(pid, t.dir)[0]


@backends(*BACKENDS)
@pytest.mark.parametrize("variant", [*VARIANTS, *(pytest.param(name, marks=extra) for name in EXTRA_VARIANTS)])
@pytest.mark.timeout(900)
def test_one_allocator_serves(t: Test, variant: str) -> None:
    program = rust_program(t, variant)
    expected = t.baseline(f"rust-{variant}", lambda: t.run([program], t.plain_env(), label="plain").stdout)
    done = redirected(t, program)
    t.check(require_taken(t, done, whose(variant)) >= 5, f"too few entry points: {done.stderr[-300:]}")
    t.equal(done.stdout, expected, "the program's output")

    data = held(t, variant, "redirect").data
    t.check(data["backend"]["served"], f"not served: {data['backend']}")
    names = [[frame["function"] or "" for frame in site["stack"]] for site in data["sites"]]
    rust = [site for site, stack in zip(data["sites"], names) if any("hold_in_rust" in name for name in stack)]
    live = sum(site["live_bytes"] for site in rust)
    t.check(abs(live / 20e6 - 1) < 0.25, f"hold_in_rust has 20 MB live, the report says {live}")
    resident = sum(site["resident_bytes"] or 0 for site in rust)
    if t.backend.name != "mimalloc3" or resident:  # its census knows the versions of docs/decisions.md only
        t.check(resident > 0.75 * live, f"resident memory of hold_in_rust is {resident}, live {live}")
    t.check(any("mdb_" in name for stack in names for name in stack), "no call site in LMDB's C code is there")


@backends(*BACKENDS)
@pytest.mark.timeout(900)
def test_exact_books(t: Test) -> None:
    """Counts, not estimates: every block of the function in Rust, and those of LMDB's C code, are on the books."""
    data = held(t, "mimalloc3", "redirect", ALLOC_MODE="exact").data
    t.equal(data["recording"]["mode"], "exact", "mode")
    stacks = [(site, [frame["function"] or "" for frame in site["stack"]]) for site in data["sites"]]
    rust = [site for site, stack in stacks if any("hold_in_rust" in name for name in stack)]
    t.equal(sum(site["live_bytes"] for site in rust), 4000 * 5000 + 4000 * 24, "live bytes of hold_in_rust")
    t.equal(sum(site["live_count"] for site in rust), 4001, "live blocks of hold_in_rust")
    t.check(any("mdb_" in name for _, stack in stacks for name in stack), "no call site in LMDB's C code is there")


@pytest.mark.timeout(900)
def test_without_redirect(t: Test) -> None:
    """The counter-proof: the same program, not taken over, keeps its memory out of our books."""
    data = held(t, "jemalloc", "report").data
    t.equal(data["backend"]["takeover"]["state"], "not asked", "backend.takeover.state")
    live = sum(site["live_bytes"] for site in data["sites"])
    t.check(live < 5e6, f"{live} bytes are on the books, although jemalloc has them")


@backends("system", "jemalloc")
@pytest.mark.timeout(900)
def test_many_starts(t: Test) -> None:
    programs = [rust_program(t, variant) for variant in VARIANTS]
    outputs = {}
    for number in range(STARTS):
        program = programs[number % len(programs)]
        done = t.run([program, "start"], t.preload_env(ALLOC_EMBEDDED="redirect", ALLOC_SAMPLE_BYTES="4K"),
                     label="start")
        outputs.setdefault(done.stdout, number)
    t.equal(len(outputs), 1, f"different outputs of {STARTS} starts")
