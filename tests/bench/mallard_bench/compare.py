# SPDX-License-Identifier: Apache-2.0
"""This run against the raw figures of an earlier one. Ratios only: absolute figures of two days say nothing."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .tables import Result

COUNTS_MAY_MOVE = 0.005  # instructions hardly drift


def compared_with(path: Path, results: Sequence[Result]) -> str:
    """\\return lines that name every ratio which left the range that the earlier run saw, and the other way round"""
    earlier = {(r["what"], r["subject"], r["quantity"]): r["ratio"] for r in json.loads(path.read_text())["results"]}
    lines, both = [], 0
    for r in results:
        old = earlier.get((r.what, r.subject, r.quantity))
        if old is None:
            continue
        both += 1
        if r.quantity == "instructions":
            moved = abs(r.ratio.middle - old["middle"]) > COUNTS_MAY_MOVE * old["middle"]
        else:
            moved = not old["low"] <= r.ratio.middle <= old["high"] and not r.ratio.low <= old["middle"] <= r.ratio.high
        if moved:
            lines.append(f"  {r.what}, {r.quantity}, {r.subject}: ratio {old['middle']:.3f} -> {r.ratio.middle:.3f}")
    head = f"{len(lines)} of {both} ratios differ from {path}" + (":" if lines else "")
    return "\n".join([head, *lines])
