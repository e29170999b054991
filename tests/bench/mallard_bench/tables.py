# SPDX-License-Identifier: Apache-2.0
"""Results as aligned text and as data."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from .measure import Spread


@dataclass(frozen=True)
class Result:
    """One measured quantity of one subject, compared with the direct preload of the same backend."""
    suite: str            # micro, programs or start-up
    what: str             # workload or program
    subject: str
    quantity: str         # 'time' or 'instructions'
    unit: str
    value: Spread
    base: Spread
    ratio: Spread         # run by run
    added: float          # value - base, run by run, the median
    budget: str = ""      # '' = none
    met: bool | None = None

    def row(self) -> list[str]:
        verdict = "" if self.met is None else f"{self.budget}: {'met' if self.met else 'MISSED'}"
        return [self.what, self.subject, number(self.base.middle), number(self.value.middle),
                f"{self.added:+.2f}" if abs(self.added) < 1e4 else f"{self.added:+.3g}",
                f"{self.ratio.middle:.3f}", f"{self.ratio.low:.3f}-{self.ratio.high:.3f}", verdict]


HEADINGS = ["workload", "subject", "direct", "here", "added", "ratio", "min-max", "budget"]


def number(value: float) -> str:
    return f"{value:.2f}" if value < 1e4 else f"{value:,.0f}"


def table(title: str, results: Sequence[Result]) -> str:
    rows = [HEADINGS, *(result.row() for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [title]
    for row in rows:
        cells = [cell.ljust(width) if column in (0, 1, len(row) - 1) else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_data(results: Sequence[Result], header: dict[str, object]) -> dict[str, object]:
    return header | {"results": [asdict(result) for result in results]}
