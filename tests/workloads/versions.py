# SPDX-License-Identifier: Apache-2.0
"""scripts/census-versions: each allocator version divides the heap of a program that knows the truth."""
from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.backends import Backend
from support.framework import Failure, Test
from support.framework import REPOSITORY

from . import jemalloc_versions, mimalloc_versions, tcmalloc_versions
from .accuracy import rewrite
from .subjects import Subject, Unavailable
from .workloads import run_workload

SUBJECTS: tuple[Subject, ...] = (mimalloc_versions.SUBJECTS + jemalloc_versions.SUBJECTS
                                  + tcmalloc_versions.SUBJECTS)
CASES = {"pinned": 100, "churn": 100, "handed": 100, "exits": 100, "large": 200, "aligned": 100}  # megabytes
LINES = ("live", "holes", "retained")
PROMISED = 0.01
# A line of a few pages is not held to one hundredth of itself: blocks of the C library and of mallard are in no books.
SLACK_SHARE, SLACK_BYTES = 0.002, 192 << 10


@dataclass
class Measured:
    """What one subject came to: a refusal, or the lines of each case in bytes, ours and in truth."""
    subject: Subject
    refused: str = ""
    ours: dict[str, dict[str, float]] = field(default_factory=dict)
    truth: dict[str, dict[str, float]] = field(default_factory=dict)

    def off(self, case: str, line: str) -> float:
        """Difference as a share of the line, what the slack allows left out."""
        true = self.truth[case][line]
        slack = SLACK_BYTES + SLACK_SHARE * sum(self.truth[case][name] for name in LINES)
        return max(0.0, abs(self.ours[case][line] - true) - slack) / max(true, 1.0)

    def worst(self) -> tuple[float, str, str]:
        return max((self.off(case, line), case, line) for case in self.ours for line in LINES)

    def complaints(self) -> list[str]:
        if self.refused:
            return [self.refused]
        return [f"{case}: {line} {self.ours[case][line] / 1e6:.2f} MB, in truth {self.truth[case][line] / 1e6:.2f}"
                for case in self.ours for line in LINES if self.off(case, line) > PROMISED]


def lines_of(report: dict[str, Any]) -> dict[str, float]:
    found = {line["cause"]: float(line["bytes"]) for line in report["ledger"]}
    # Blocks of the allocator are known as a whole; what of a block was asked for is an estimate of the samples.
    return {"live": found.get("live", 0) + found.get("rounding", 0), "holes": found.get("holes", 0),
            "retained": found.get("retained", 0)}


def measure(subject: Subject, path: Path, build: Path, folder: Path, cases: dict[str, int], seed: int = 1) -> Measured:
    """Runs known_heap under mallard with the subject as its backend."""
    measured = Measured(subject)
    folder.mkdir(parents=True, exist_ok=True)
    backend = Backend(subject.allocator, str(path), rf"^{subject.allocator}$", "")
    test = Test(backend, build, folder, folder)
    try:
        for case, megabytes in cases.items():
            run = run_workload(test, "known_heap", [case, megabytes, seed], **subject.units(path), **subject.variables)
            about = run.report["ledger_about"]
            if not about["known"] or not about["divided"]:
                measured.refused = about["why_not"] or about["not_divided_why"]
                return measured
            if run.truth["unknown_blocks"] * 100 > run.truth["blocks"]:
                raise Failure(f"{case}: {run.truth['unknown_blocks']} of {run.truth['blocks']} blocks have no unit")
            measured.ours[case] = lines_of(run.report)
            measured.truth[case] = {line: float(run.truth[line]) for line in LINES}
    finally:
        test.close()
    return measured


def table(found: list[Measured]) -> str:
    """Sums over all cases for each subject, in MB, and the line that is furthest from the truth."""
    rows = ["| allocator | from | live | holes | retained | furthest from the truth |", "|---|---|---|---|---|---|"]
    for m in found:
        start = f"| {m.subject.name} | {m.subject.source} |"
        if m.refused:
            rows.append(f"{start} one line | | | {m.refused} |")
            continue
        cells = []
        for line in LINES:
            ours, true = (sum(case[line] for case in of.values()) for of in (m.ours, m.truth))
            cells.append(f"{ours / 1e6:.1f} / {true / 1e6:.1f} ({100 * (ours / true - 1) if true else 0:+.2f} %)")
        off, case, line = m.worst()
        rows.append(f"{start} {' | '.join(cells)} | "
                    + (f"{100 * off:.1f} % of {line}, {case}" if off > 0 else "within the slack") + " |")
    return "\n".join(rows)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/census-versions", description=__doc__)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--cache", type=Path, metavar="DIR",
                        help="where subjects are made (default: BUILD/census-versions)")
    parser.add_argument("--only", default="", metavar="REGEX", help="subjects whose name matches: 'mimalloc 2'")
    parser.add_argument("--case", action="append", choices=CASES, help="only these; repeatable")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--list", action="store_true", help="print the subjects and where they come from")
    parser.add_argument("--no-document", action="store_true", help="print the table, leave docs/accuracy.md alone")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    subjects = [s for s in SUBJECTS if re.search(options.only, s.name)]
    if options.list:
        for s in subjects:
            print(f"{s.name:24} {s.source}")
        return 0
    build = options.build.resolve()
    if not (build / "libmallard.so").exists():
        print(f"census-versions: error: no {build / 'libmallard.so'}", file=sys.stderr)
        return 3
    cache = (options.cache or build / "census-versions").resolve()
    cases = {case: size for case, size in CASES.items() if not options.case or case in options.case}
    found: list[Measured] = []
    wrong = 0
    for s in subjects:
        try:
            path = s.bring(cache)
            found.append(measure(s, path, build, cache / "runs" / s.name.replace(" ", "-"), cases, options.seed))
        except Unavailable as reason:
            print(f"left out: {s.name}: {reason}", flush=True)
            continue
        except Failure as reason:
            print(f"{s.name}: {reason}", flush=True)
            wrong += 1
            continue
        complaints = found[-1].complaints()
        wrong += bool(complaints)
        print(f"{s.name}: {'; '.join(complaints) or 'right'}", flush=True)
    text = table(found)
    print(f"\n{text}")
    if not options.no_document and not options.only and not options.case:
        rewrite("versions", text)
    return 1 if wrong else 0
