# SPDX-License-Identifier: Apache-2.0
"""`mallard inspect --leaks` of Rust programs, bare: what they lost, and nothing that they keep."""
from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from support.framework import Test
from support.marks import group

from .programs import rust_program

pytestmark = group("cargo")
# src/lost.rs: by size class, in main and two threads together.
SINGLE, STRINGS, IN_RINGS, IN_LISTS = 3 * 3000, 3 * 500, 3 * 1000, 3 * 1000


def inspected(t: Test, variant: str) -> dict[str, Any]:
    process = subprocess.Popen([rust_program(t, variant), "lose"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        process.stdout.readline()
        done = subprocess.run([t.build / "mallard", "inspect", "--leaks", "--again-after", "0.1", "--json", str(process.pid)],
                              capture_output=True, text=True, check=False)
    finally:
        process.kill()
        process.wait()
    if "cannot be looked into" in done.stderr:
        t.skip(done.stderr.strip())
    t.equal(done.returncode, 0, f"status of mallard inspect ({done.stderr[-300:]})")
    return json.loads(done.stdout)


@pytest.mark.parametrize("variant,least", [("jemalloc", 8500), ("mimalloc3", 8900)])
@pytest.mark.timeout(900)
def test_blocks_that_rust_loses(t: Test, variant: str, least: int) -> None:
    """One old address in a cache keeps all of a chain, or all that a vector leads to: single blocks are what tells."""
    report = inspected(t, variant)
    lost = report["lost"]
    t.equal(report["backend"]["name"], variant.rstrip("3"), "the heap that is divided")
    t.check(lost["done"] and lost["looks"] >= 2, f"it was not looked for: {lost}")
    found = {group["block_bytes"]: group["blocks"] for group in lost["groups"]}
    t.check(least <= found.get(640, 0) <= SINGLE, f"{found} of {SINGLE} single blocks")
    for size, most in ((768, STRINGS), (896, IN_RINGS), (1024, IN_LISTS)):
        t.check(found.pop(size, 0) <= most, f"more than {most} blocks of {size} bytes are called lost: {lost['groups']}")
    found.pop(640)
    # The buffers of the vectors.
    t.check(sum(found.values()) <= 3 and not any(size < 12000 for size in found), f"what is kept is called lost: {lost['groups']}")
