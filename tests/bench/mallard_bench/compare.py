# SPDX-License-Identifier: Apache-2.0
"""This run against the raw figures of an earlier one. Ratios only: absolute figures of two days say nothing."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tables import Result

COUNTS_MAY_MOVE = 0.005  # instructions hardly drift


class FiguresError(Exception):
    """A file of raw figures that cannot be used; the text says why."""


Key = tuple[str, str, str]


def read_figures(path: Path) -> dict[Key, dict[str, Any]]:
    try:
        return {key_of(r): r for r in json.loads(path.read_text())["results"] if r["ratio"]["middle"]}
    except OSError as error:
        raise FiguresError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FiguresError(f"{path} holds no figures of this benchmark: {error!r}") from error


def key_of(figure: Mapping[str, Any]) -> Key:
    return figure["what"], figure["subject"], figure["quantity"]


def joined(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """\\return this run's figures, and those of the file that this run did not measure"""
    new = {key_of(r) for r in data["results"]}
    kept = [r for key, r in read_figures(path).items() if key not in new] if path.exists() else []
    return data | {"results": [*data["results"], *kept]}


def compared_with(path: Path, results: Sequence[Result]) -> str:
    """\\return lines that name every ratio which left the range that the earlier run saw, and the other way round"""
    earlier = {key: r["ratio"] for key, r in read_figures(path).items()}
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
