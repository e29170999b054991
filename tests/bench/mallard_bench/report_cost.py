# SPDX-License-Identifier: Apache-2.0
"""What a report costs a program with a large heap: how long it takes, how long it holds a host thread up."""
from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .measure import BenchError
from .subjects import Group

SOURCE = Path(__file__).resolve().parent.parent / "report_cost.cpp"
KINDS = ("allocate", "map", "compute")
MOST_NS = 1_000_000_000          # a report of 8 GB in sample mode
MOST_HELD_UP_NS = 1_000_000      # any host thread
HEADINGS = ["heap", "objects", "backend", "rss", "report", "scan", "census", "rest", "examined",
            *(f"{kind}: report / quiet" for kind in KINDS), "real time"]


@dataclass(frozen=True)
class Case:
    megabytes: int
    objects: int


def compile_program(folder: Path) -> Path:
    program = folder / "report_cost"
    done = subprocess.run(["g++", "-std=c++20", "-O2", "-g", "-D_GNU_SOURCE", "-fno-builtin", "-pthread", "-o",
                           str(program), str(SOURCE)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"report_cost.cpp does not compile: {done.stderr[-500:]}")
    return program


def measure(program: Path, group: Group, case: Case, rounds: int, folder: Path) -> dict[str, Any]:
    """One process, `rounds` reports. Of the program's figures: median, least, most."""
    subject = next(s for s in group.others if s.kind == "sample")
    with tempfile.TemporaryDirectory(prefix="reports.", dir=folder) as reports:
        env = subject.environment() | {"WORKLOAD_REPORTS": reports, "ALLOC_REPORT": f"{reports}/report.%n"}
        done = subprocess.run([program, str(case.megabytes), str(case.objects), str(rounds)], env=env,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise BenchError(f"report_cost under {subject.name}: status {done.returncode}: {done.stderr[-300:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        written = [json.loads(path.read_text()) for path in sorted(Path(reports).glob("*.json"))[1:]]
    for name in ("scan_ns", "census_ns"):
        result[name] = median(report["ledger_about"][name] for report in written)
    result["examined"] = written[-1]["ledger_about"]["examined"]
    return result


def row(case: Case, backend: str, r: dict[str, Any]) -> list[str]:
    ms = lambda ns: f"{ns / 1e6:.0f} ms" if ns >= 1e7 else f"{ns / 1e6:.2f} ms"  # noqa: E731
    rest = max(0, r["report_ns"][0] - r["scan_ns"] - r["census_ns"])  # of medians
    return [f"{case.megabytes / 1024:g} GB", f"{case.objects / 1e6:g} M", backend, f"{r['rss_bytes'] / 1e9:.1f} GB",
            ms(r["report_ns"][0]), ms(r["scan_ns"]), ms(r["census_ns"]), ms(rest), f"{100 * r['examined']:.0f} %",
            *(f"{ms(r[kind]['report'][0])} ({ms(r[kind]['report'][2])}) / "
              f"{ms(r[kind]['quiet'][0])} ({ms(r[kind]['quiet'][2])})" for kind in KINDS),
            "yes" if r["undisturbed"] else "no"]


def misses(case: Case, backend: str, r: dict[str, Any]) -> list[str]:
    """Budgets that were missed; a hold-up counts as far as the machine does not do it by itself."""
    found = []
    if r["report_ns"][0] > MOST_NS:
        found.append(f"{case.megabytes} MB on {backend}: the report took {r['report_ns'][0] / 1e9:.2f} s")
    for kind in KINDS:
        held_up, quiet = r[kind]["report"][0], r[kind]["quiet"][0]
        if held_up > MOST_HELD_UP_NS and held_up > 2 * quiet:
            found.append(f"{case.megabytes} MB on {backend}: '{kind}' was held up for {held_up / 1e6:.1f} ms")
    return found


def run(groups: list[Group], cases: list[Case], rounds: int, folder: Path) -> int:
    """Prints the table as Markdown. \\return 1 if a budget was missed"""
    program = compile_program(folder)
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS), flush=True)
    missed: list[str] = []
    for case in cases:
        for group in groups:
            result = measure(program, group, case, rounds, folder)
            print("| " + " | ".join(row(case, group.direct.backend, result)) + " |", flush=True)
            missed += misses(case, group.direct.backend, result)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0
