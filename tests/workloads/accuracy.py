# SPDX-License-Identifier: Apache-2.0
"""scripts/accuracy: seeded runs of the pinned heap, every cause, real programs; rewrites docs/accuracy.md's tables."""
from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from support.backends import Backend, matrix
from support.framework import ALL, Failure, Skip, Test
from support.framework import REPOSITORY

from .judge import SiteTally, close_complaints, unexplained_share
from .workloads import BACKENDS, build_workload, run_workload

DOCUMENT = REPOSITORY / "docs" / "accuracy.md"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/accuracy", description=__doc__)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--backend", action="append", choices=ALL, help="only these; repeatable")
    parser.add_argument("--mode", choices=("sample", "exact"), default="sample",
                        help="of recording; exact: resident memory by call site only (default: sample)")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="runs per backend; 0 = none (default: 100)")
    parser.add_argument("--megabytes", type=int, default=1024, metavar="N", help="size of the heap (default: 1024)")
    parser.add_argument("--sample-bytes", default="", metavar="N", help="other than the default rate")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time (default: 1)")
    parser.add_argument("--no-causes", action="store_true", help="without the tests of single causes and real programs")
    parser.add_argument("--no-document", action="store_true", help="print the tables, leave docs/accuracy.md alone")
    return parser.parse_args(arguments)


def measure_sites(backend: Backend, options: argparse.Namespace, folder: Path) -> SiteTally:
    test = Test(backend, options.build, folder, folder)
    tally = SiteTally()
    extra = {"ALLOC_MODE": options.mode}
    if options.sample_bytes:
        extra["ALLOC_SAMPLE_BYTES"] = options.sample_bytes
    try:
        build_workload(test, "pinned_pages")
        with ThreadPoolExecutor(options.jobs) as pool:
            runs = pool.map(lambda seed: run_workload(test, "pinned_pages", [options.megabytes, seed], 600, **extra),
                            range(1, options.seeds + 1))
            for number, run in enumerate(runs, 1):
                if wrong := close_complaints(run.report):
                    raise Failure(f"seed {number}: {'; '.join(wrong)}")
                tally.worst_unexplained = max(tally.worst_unexplained, unexplained_share(run.report))
                tally.add(run.report, run.truth)
                if number % 10 == 0:
                    print(f"{backend.name}: {tally.sentence()}", flush=True)
    finally:
        test.close()
    return tally


def sites_table(tallies: dict[str, SiteTally], options: argparse.Namespace) -> str:
    lines = [f"Heap of {options.megabytes} MB, {'one sample in ' + (options.sample_bytes or '512 KiB')}, "
             f"{max(t.runs for t in tallies.values())} seeds.", "",
             "| backend | intervals that hold the truth | worst site | on a wrong site | by live bytes it would be | "
             "all sites together | pinning site leads | unexplained, at most |", "|---|---|---|---|---|---|---|---|"]
    for name, tally in tallies.items():
        worst = min(tally.by_site, key=lambda site: tally.by_site[site][1] / tally.by_site[site][0])
        count, inside = tally.by_site[worst]
        lines.append(f"| {name} | {100 * tally.coverage:.1f} % of {tally.intervals} | "
                     f"{worst} {100 * inside / count:.0f} % of {count} | {100 * tally.misplaced / tally.runs:.2f} % | "
                     f"{100 * tally.naive_misplaced / tally.runs:.1f} % | "
                     f"{100 * tally.total_error / tally.runs:+.2f} % | {tally.led} of {tally.runs} | "
                     f"{100 * tally.worst_unexplained:.3f} % |")
    return "\n".join(lines)


def exact_table(tallies: dict[str, SiteTally], options: argparse.Namespace) -> str:
    lines = [f"Heap of {options.megabytes} MB, {max(t.runs for t in tallies.values())} seeds.", "",
             "| backend | on a wrong site | by live bytes it would be | all sites together | pinning site leads | "
             "unexplained, at most |", "|---|---|---|---|---|---|"]
    lines += [f"| {name} | {100 * t.misplaced / t.runs:.2f} % | {100 * t.naive_misplaced / t.runs:.1f} % | "
              f"{100 * t.total_error / t.runs:+.2f} % | {t.led} of {t.runs} | {100 * t.worst_unexplained:.3f} % |"
              for name, t in tallies.items()]
    return "\n".join(lines)


def pytest_python() -> str:
    """A Python that has pytest: this one, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import pytest, pytest_timeout"], capture_output=True).returncode == 0:
            return python
    raise SystemExit("accuracy: error: there is no pytest (packages python3-pytest and python3-pytest-timeout)")


def causes_table(build: Path, backends: list[str]) -> str:
    """Runs the tests of causes and real programs; their notes become the table."""
    results = build / "accuracy" / "causes.xml"
    command = [pytest_python(), "-m", "pytest", f"--build={build}", f"--junitxml={results}",
               *(f"--backend={name}" for name in backends),
               *(str(REPOSITORY / "tests" / "workloads" / f"test_{name}.py") for name in ("causes", "programs"))]
    subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    found: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        name, _, parameters = case.get("name", "").removeprefix("test_").removesuffix("]").partition("[")
        words = parameters.split("-")
        backend = next((word for word in words if word in ALL), "jemalloc")
        if name == "cause":
            name = next(word for word in words if word not in ALL and not word.isdigit())
        notes = "; ".join(note.get("value", "") for note in case.iter("property"))
        figures = re.match(r"unexplained ([\d.]+ %), verdict (\w+)", notes)
        cell = f"{figures[1]}, {figures[2]}" if figures else "ok"
        if case.find("skipped") is not None:
            cell = "skipped"
        elif (failure := case.find("failure")) is not None or (failure := case.find("error")) is not None:
            cell = "**wrong**"
            print(f"{name}, {backend}: {failure.get('message')}")
        found.setdefault(name, {})[backend] = cell
    lines = ["| program | " + " | ".join(backends) + " |", "|---|" + "---|" * len(backends)]
    lines += [f"| {name} | " + " | ".join(cells.get(b, "") for b in backends) + " |"
              for name, cells in sorted(found.items())]
    return "\n".join(lines)


def rewrite(name: str, text: str) -> None:
    """Puts a table between its two marks in the document."""
    document = DOCUMENT.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"accuracy: error: {DOCUMENT.name} has no marks for {name}")
    DOCUMENT.write_text(f"{before}{begin}{text}\n{end}{after}")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    options.build = options.build.resolve()
    if not (options.build / "libmallard.so").exists():
        print(f"accuracy: error: no {options.build / 'libmallard.so'}", file=sys.stderr)
        return 3
    names = options.backend or list(ALL if options.mode == "exact" else BACKENDS)
    folder = options.build / "accuracy"
    shutil.rmtree(folder, ignore_errors=True)
    tables: dict[str, str] = {}
    tallies: dict[str, SiteTally] = {}
    present: list[str] = []
    for backend in matrix(options.build):
        if backend.name not in names:
            continue
        if backend.missing:
            print(f"left out: {backend.name}: {backend.missing}")
            continue
        present.append(backend.name)
        if options.seeds == 0:
            continue
        place = folder / backend.name
        place.mkdir(parents=True)
        begin = time.monotonic()
        try:
            tallies[backend.name] = measure_sites(backend, options, place)
        except (Failure, Skip) as problem:
            print(f"accuracy: error: {backend.name}: {problem}", file=sys.stderr)
            return 1
        print(f"{backend.name}: {tallies[backend.name].sentence()} ({time.monotonic() - begin:.0f} s)", flush=True)
        (folder / "sites.json").write_text(json.dumps({k: asdict(v) for k, v in tallies.items()}, indent=1) + "\n")
    kernel = f"Kernel {platform.release().split('-')[0]}."
    if tallies and options.mode == "exact":
        tables["exact"] = f"{kernel} {exact_table(tallies, options)}"
    elif tallies:
        tables["sites"] = f"{kernel} {sites_table(tallies, options)}"
    if not options.no_causes and options.mode != "exact":
        tables["causes"] = causes_table(options.build, present)
    for name, table in tables.items():
        print(f"\n{table}")
        if not options.no_document:
            rewrite(name, table)
    return 0
