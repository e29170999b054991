# SPDX-License-Identifier: Apache-2.0
"""scripts/judge: runs the corpus, tells what is wrong or missed, rewrites the confusion matrix of docs/accuracy.md."""
from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from support.backends import Backend, matrix
from support.framework import REPOSITORY, Failure, Skip, Test
from workloads.accuracy import rewrite

from .corpus import MODES, Case, Judgement, cases, judge, run_series
from .services import Step

BACKENDS = ("system", "jemalloc", "mimalloc2", "mimalloc3")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/judge", description=__doc__)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--only", default="", metavar="PATTERN", help="programs whose family/name matches")
    parser.add_argument("--backends", default=",".join(BACKENDS), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--modes", default=",".join(MODES), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--reports", type=int, default=0, metavar="N",
                        help="of each series (default: the program's own number)")
    parser.add_argument("--pace", type=float, default=0, metavar="SECONDS",
                        help="from one report to the next at least; with it a table of its own is written")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="series at the same time (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the reports of series with a fault there")
    parser.add_argument("--resume", action="store_true",
                        help="count what earlier runs judged with the same library, and do not run it again")
    parser.add_argument("--list", action="store_true", help="name the programs, run none")
    parser.add_argument("--no-document", action="store_true", help="print the tables, leave docs/accuracy.md alone")
    return parser.parse_args(arguments)


@dataclass
class Cause:
    right: int = 0
    misplaced: int = 0
    missed: int = 0
    false_in_healthy: int = 0
    false_elsewhere: int = 0

    @property
    def expected(self) -> int:
        return self.right + self.misplaced + self.missed


@dataclass
class Tally:
    """Reports of some series, by what is true of them."""
    series: int = 0
    states: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)     # reports with any fault, by state

    def add(self, judgements: list[Judgement]) -> None:
        self.series += 1
        for judgement in judgements:
            self.states[judgement.state] += 1
            self.wrong[judgement.state] += not judgement.ok

    def cells(self) -> str:
        def of(state: str) -> str:
            return f"{self.wrong[state]} of {self.states[state]}"
        sick = self.states["sick"]
        named = f"{100 * (1 - self.wrong['sick'] / sick):.1f} %" if sick else ""
        return f"{self.series} | {of('healthy')} | {of('sick')} | {named} | {of('undecided')}"


@dataclass
class Result:
    causes: dict[str, Cause] = field(default_factory=lambda: defaultdict(Cause))
    by_setting: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    by_program: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def add(self, case: Case, backend: str, mode: str, judgements: list[Judgement]) -> None:
        self.by_setting[backend, mode].add(judgements)
        self.by_program[case.full_name].add(judgements)
        for judgement in judgements:
            for name in judgement.right:
                self.causes[name].right += 1
            for name in judgement.misplaced:
                self.causes[name].misplaced += 1
            for name in judgement.missed:
                self.causes[name].missed += 1
            for name in judgement.false:
                if judgement.state == "healthy":
                    self.causes[name].false_in_healthy += 1
                else:
                    self.causes[name].false_elsewhere += 1

    def tables(self) -> str:
        lines = ["| cause | reports where it is true | right | wrong call site | missed | false in healthy reports | "
                 "false in others |", "|---|---|---|---|---|---|---|"]
        lines += [f"| {name} | {c.expected} | {c.right} | {c.misplaced} | {c.missed} | {c.false_in_healthy} | "
                  f"{c.false_elsewhere} |" for name, c in sorted(self.causes.items())]
        heads = " | series | healthy reports with a fault | sick reports with a fault | without one | " \
                "undecided ones with a fault |"
        lines += ["", "| backend, mode" + heads, "|---|---|---|---|---|---|"]
        lines += [f"| {backend}, {mode} | {tally.cells()} |" for (backend, mode), tally in self.by_setting.items()]
        lines += ["", "| program with a fault" + heads, "|---|---|---|---|---|---|"]
        lines += [f"| {name} | {tally.cells()} |" for name, tally in sorted(self.by_program.items())
                  if tally.wrong.total()]
        return "\n".join(lines)


def steady_table(result: Result, options: argparse.Namespace) -> str:
    """Of services that were watched for long: a row for each."""
    rows = [f"| {name} | {t.series} | {t.states.total()} | {t.wrong.total()} |"
            for name, t in sorted(result.by_program.items())]
    heads = ["| program | series | reports | with a fault |", "|---|---|---|---|"]
    return "\n".join([f"A report every {options.pace:g} s at the most often. Backends {options.backends}; modes "
                      f"{options.modes}.", "", *heads, *rows])


def fault_line(case: Case, backend: str, mode: str, number: int, step: Step, judgement: Judgement) -> str:
    """One line that says where, what was said, and what is true."""
    said = ", ".join(f"{f['cause']} {f['bytes'] / 2**20:.0f}" for f in step.report["findings"]) or "nothing"
    truth = step.truth
    faults = "; ".join(f"{kind} {' '.join(found)}" for kind, found in
                       (("missed", judgement.missed), ("wrong site of", judgement.misplaced),
                        ("false", judgement.false)) if found)
    return (f"{case.full_name} {backend} {mode} #{number}: {faults}; said: {said}; truth: {truth['state']} "
            f"{truth['causes']} {truth['leaf']}".rstrip())


def judge_series(case: Case, backend: Backend, mode: str,
                 options: argparse.Namespace) -> tuple[list[Judgement], list[str]]:
    """How each report of a series was judged, and a line for each that has a fault."""
    with tempfile.TemporaryDirectory(prefix="judge.") as name:
        folder = Path(name)
        test = Test(backend, options.build, folder, folder, mode)
        try:
            steps = run_series(test, case, mode, options.reports or case.reports, folder, options.pace)
        finally:
            test.close()
        judgements = [judge(step) for step in steps]
        faults = [fault_line(case, backend.name, mode, i + 1, step, judgement)
                  for i, (step, judgement) in enumerate(zip(steps, judgements)) if not judgement.ok]
        if options.keep and faults:
            place = options.keep / f"{case.family}.{case.name}.{backend.name}.{mode}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(folder, place)
        return judgements, faults


class Diary:
    """What was judged with the library that is there now, in a file of the build."""

    def __init__(self, build: Path) -> None:
        self.path = build / "judgement.jsonl"
        self.library = (build / "libmallard.so").stat().st_mtime_ns

    def read(self) -> dict[tuple[str, str, str], list[Judgement]]:
        lines = map(json.loads, self.path.read_text().splitlines()) if self.path.exists() else ()
        return {(line["program"], line["backend"], line["mode"]): [Judgement(**j) for j in line["judgements"]]
                for line in lines if line["library"] == self.library}

    def add(self, program: str, backend: str, mode: str, judgements: list[Judgement]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps({"library": self.library, "program": program, "backend": backend, "mode": mode,
                                   "judgements": [asdict(j) for j in judgements]}) + "\n")


def run_all(chosen: list[Case], present: list[Backend], options: argparse.Namespace) -> tuple[Result, int]:
    """The result, and how many series could not be run."""
    diary, result, failed = Diary(options.build), Result(), 0
    known = diary.read() if options.resume else {}
    running = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for backend in present:
            for mode in options.modes.split(","):
                for case in chosen:
                    judged = known.get((case.full_name, backend.name, mode))
                    if judged is not None:
                        result.add(case, backend.name, mode, judged)
                    else:
                        running.append(((case, backend, mode), pool.submit(judge_series, case, backend, mode, options)))
        for (case, backend, mode), future in running:
            try:
                judgements, faults = future.result()
            except Skip as reason:
                print(f"left out: {case.full_name}: {reason}", flush=True)
                continue
            except Failure as problem:
                failed += 1
                print(f"failed: {case.full_name} {backend.name} {mode}: {problem}", flush=True)
                continue
            result.add(case, backend.name, mode, judgements)
            diary.add(case.full_name, backend.name, mode, judgements)
            print("\n".join(faults) or f"{case.full_name} {backend.name} {mode}: right", flush=True)
    return result, failed


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    options.build = options.build.resolve()
    if not (options.build / "libmallard.so").exists():
        print(f"judge: error: no {options.build / 'libmallard.so'}", file=sys.stderr)
        return 3
    present = [b for b in matrix(options.build) if b.name in options.backends.split(",")]
    for backend in present:
        if backend.missing:
            print(f"left out: {backend.name}: {backend.missing}")
    present = [b for b in present if not b.missing]
    with tempfile.TemporaryDirectory(prefix="judge.") as folder:
        chosen = [c for c in cases(Test(present[0], options.build, Path(folder), Path(folder)))
                  if re.search(options.only, c.full_name)]
    if options.list:
        print("\n".join(f"{c.full_name}: {c.kind}, {c.reports} reports" for c in chosen))
        return 0
    result, failed = run_all(chosen, present, options)
    table = result.tables()
    print(f"\n{table}")
    if options.pace and not options.no_document:
        rewrite("steady", steady_table(result, options))
    elif not (options.no_document or options.only or options.reports):
        rewrite("judgement", table)
    return 1 if failed else 0
