# SPDX-License-Identifier: Apache-2.0
"""The programs of tests/judgement: what there is, running one over a series of reports, and judging each report."""
from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.compiler import build_case
from support.framework import Failure, Test

from .services import SERVICES, Step, ask

SOURCES = Path(__file__).resolve().parent
FAMILIES = ("caches", "rhythms", "leaks", "pages", "beside", "kernel")
MODES = ("sample", "exact")


@dataclass(frozen=True)
class Case:
    """A program: a shape of a family, or a real service."""
    family: str
    name: str
    kind: str       # healthy or sick: what it ends as
    reports: int

    @property
    def full_name(self) -> str:
        return f"{self.family}/{self.name}"


def cases(t: Test, only_family: str = "") -> list[Case]:
    """All of them, or those of one family, which is asked what shapes it has."""
    found = []
    for family in FAMILIES:
        if only_family not in ("", family):
            continue
        listing = subprocess.run([build_family(t, family), "list"], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            name, kind, reports = line.split()
            found.append(Case(family, name, kind, int(reports)))
    if only_family:
        return found
    return found + [Case("services", name, service.kind, service.reports) for name, service in SERVICES.items()]


def build_family(t: Test, family: str) -> Path:
    return build_case(t, str(SOURCES / f"{family}.cpp"), "-ldl")


# ---- running
def run_series(t: Test, case: Case, mode: str, reports: int, folder: Path, pace: float = 0) -> list[Step]:
    """Every report of the series, `pace` seconds apart or more, beside what is true at it; the files stay in `folder`."""
    if case.family == "services":
        return list(paced(SERVICES[case.name].run(t, mode, reports, folder), pace))
    command = [str(build_family(t, case.family)), case.name, str(reports)]
    env = t.preload_env(ALLOC_REPORT=f"{folder}/report.%n", ALLOC_MODE=mode, ALLOC_STRICT="1")
    with open(folder / "stderr", "wb") as errors, tempfile.TemporaryDirectory(dir=t.tmp) as scratch:
        process = subprocess.Popen(command, env=env, cwd=scratch, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=errors)
        try:
            return list(paced(steps_of(process, folder), pace))
        finally:
            process.kill()
            process.wait()


def paced(steps: Iterator[Step], pace: float) -> Iterator[Step]:
    for step in steps:
        until = time.monotonic() + pace
        yield step
        time.sleep(max(0.0, until - time.monotonic()))


def steps_of(process: subprocess.Popen[bytes], folder: Path) -> Iterator[Step]:
    assert process.stdin is not None and process.stdout is not None
    number = 0
    while line := process.stdout.readline():
        number += 1
        truth = json.loads(line)
        report = ask(truth.get("pid", process.pid), folder, number)
        with open(folder / "truth.jsonl", "a") as truths:
            truths.write(json.dumps(truth) + "\n")
        yield Step(truth, report)
        process.stdin.write(b"\n")
        process.stdin.flush()
    if process.wait() != 0:
        raise Failure(f"status {process.returncode}: {(folder / 'stderr').read_text()[-300:]}")


# ---- judging
@dataclass
class Judgement:
    """What is wrong with the findings of one report. A cause is `missed` if it had to be found, `misplaced` if the
    finding does not name the function, `false` if nothing makes it true."""
    state: str
    expected: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missed or self.misplaced or self.false)


HARMLESS = {"none", "runtime_heap", "lazily_freed", "mapped_files"}


def judge(step: Step) -> Judgement:
    findings = step.report["findings"]
    truth = step.truth
    made = Judgement(truth["state"])
    allowed = set(HARMLESS) | set(truth["may"].split())
    for number, wanted in enumerate(truth["causes"].split()):
        choices = wanted.split("|")
        allowed.update(choices)
        name = choices[0]
        made.expected.append(name)
        matching = [f for f in findings if f["cause"] in choices]
        if not matching:
            made.missed.append(name)
        elif number == 0 and truth["leaf"] and not any(names(step.report, f, truth["leaf"]) for f in matching):
            made.misplaced.append(name)
        else:
            made.right.append(name)
    made.false = [f["cause"] for f in findings if f["cause"] not in allowed]
    return made


def names(report: dict[str, Any], finding: dict[str, Any], functions: str) -> bool:
    """Whether a site of the finding has one of the functions ("a|b") near its leaf."""
    wanted = functions.split("|")
    stacks = [site["stack"] for site in report["sites"] if site["id"] in finding["sites"]]
    return any(plain_name(frame["function"]) in wanted for stack in stacks for frame in stack[:8])


def plain_name(function: str | None) -> str:
    """The name alone, without namespaces and parameters."""
    return (function or "").replace("(anonymous namespace)::", "").split("(")[0].split("::")[-1]
