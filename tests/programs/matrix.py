# SPDX-License-Identifier: Apache-2.0
"""scripts/matrix programs: programs of others under each backend and mode, their results against those without mallard."""
from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from support import processes
from support.backends import Backend, direct_objects, matrix
from support.framework import ALL, REPOSITORY, Failure, Test

from .commands import COMMANDS
from .program import Outcomes, Program, Run, program_path, version_of
from .servers import SERVERS
from .suites import SUITES

DOCUMENT = REPOSITORY / "docs" / "compatibility.md"
BEGIN, END = "<!-- made by scripts/matrix programs --write -->\n", "<!-- end -->\n"
MODES = ("off", "sample", "exact")
PROGRAMS = (*COMMANDS, *SERVERS, *SUITES)
SHORT = ("bash", "SQLite")
# What others wrote and is not run.
ABSENT = (("glibc's own tests", "they need a build tree of it; `tests/e2e/cases` has a case for each entry point"),)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/matrix programs", description=__doc__)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--only", default="", metavar="NAMES", help="these programs, by names with commas between them")
    parser.add_argument("--backends", default=",".join(ALL), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--modes", default=",".join(MODES), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--short", action="store_true", help=f"{' and '.join(SHORT)} alone, with one backend in each mode; seconds")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what programs wrote that differed, and wrong reports")
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/compatibility.md; with --only its rows alone")
    parser.add_argument("--packages", action="store_true", help="name the packages that are needed, run nothing")
    parser.add_argument("--sources", action="store_true", help="name the source packages that are needed, run nothing")
    parser.add_argument("--list", action="store_true", help="name the programs, run nothing")
    return parser.parse_args(arguments)


@dataclass
class Row:
    """What came of a program."""
    program: Program
    narrowed: str = ""  # to what a run was told to do, where that is not all
    version: str = ""
    missing: str = ""
    runs: int = 0
    reports: int = 0
    from_outside: int = 0
    unexplained: float = 0.0
    excluded: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    too_short: int = 0  # runs that ended before a report could be asked for
    unsteady: set[str] = field(default_factory=set)  # tests of a suite that do not come to one end without mallard either

    def difference(self, expected: str | Outcomes, found: str | Outcomes) -> str:
        """What is wrong with a result; of a suite, the tests alone that came to another end."""
        if isinstance(found, Outcomes) and isinstance(expected, Outcomes):
            steady = found.without(self.unsteady)
            names = sorted(expected.differing(steady))
            return short("; ".join(f"{name}: {steady.ends_of(name)} instead of {expected.ends_of(name)}" for name in names), 400)
        return "" if found == expected else f"other result: {short(str(found))}"

    def cells(self) -> str:
        program = self.program
        if self.missing:
            return f"| {program.name} | | {program.what} | | | | {self.missing} |"
        equal = f"{self.runs - len(self.wrong)} of {self.runs}"
        told = f"{self.reports}" + (f", {self.from_outside} of them from outside" if self.from_outside else "")
        remarks = [self.narrowed] if self.narrowed else []
        remarks += [f"{where}: {why}" for where, why in self.excluded.items()]
        remarks += [f"{self.too_short} ended before a report could be asked for"] if self.too_short else []
        remarks += [f"left out, because two runs without mallard differ: {', '.join(sorted(self.unsteady))}"] if self.unsteady else []
        remarks += self.wrong
        return (f"| {program.name} | {self.version} | {program.what} | {equal} | {told} | "
                f"{f'{self.unexplained:.2f} %' if self.reports else ''} | {'; '.join(remarks)} |")


class Matrix:
    def __init__(self, options: argparse.Namespace) -> None:
        self.build: Path = options.build.resolve()
        self.scratch = Path(tempfile.mkdtemp(prefix="mallard-programs-"))
        self.scratch.chmod(0o755)
        self.kept: Path | None = options.keep
        self.library = self._reachable_library()
        self.mallard = Path(shutil.copy2(self.build / "mallard", self.scratch))  # a build meanwhile disturbs nothing

    def close(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _reachable_library(self) -> Path:
        """At a place that servers under other users may read, with the backends beside it."""
        place = self.scratch / "lib"
        place.mkdir()
        shutil.copy2(self.build / "libmallard.so", place)
        if (self.build / "backends").is_dir():
            (place / "backends").mkdir()
            for file in (self.build / "backends").glob("*.so*"):
                shutil.copy2(file, place / "backends")
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        return place / "libmallard.so"

    def run(self, program: Program, backend: Backend, mode: str, variables: dict[str, str], past: Sequence[float] = (),
            differs: Callable[[str | Outcomes], bool] = lambda _: False) -> tuple[str | Outcomes, Run, float]:
        """\\return the result, what else is known of the run, and how long it took"""
        folder = self.scratch / "runs" / f"{program.name}.{backend.name}.{mode}"
        reports = folder / "reports"
        reports.mkdir(parents=True)
        reports.chmod(0o777)
        test = Test(backend, self.build, folder, self.scratch)
        if "ALLOC_BACKEND" in variables:
            variables = variables | {"ALLOC_REPORT": f"{reports}/r.%p.%n"}
        run = Run(test, variables, self.mallard if "ALLOC_BACKEND" in variables and program.report else None, past,
                  self.source_of(program))
        began = time.monotonic()
        failed = True
        try:
            result = program.run(run)
            failed = differs(result)
            return result, run, time.monotonic() - began
        finally:
            processes.end_descendants(os.getpid())
            test.close()
            if failed and self.kept:
                shutil.copytree(folder, self.kept / folder.name, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def source_of(self, program: Program) -> Path | None:
        """Where scripts/programs.sh has unpacked it."""
        folders = [self.build / "sources" / name for name in program.source.split("|") if name]
        return next((folder for folder in folders if folder.is_dir()), None)

    def bare_backend(self, row: Row, backend: Backend, found: str | Outcomes, expected: str | Outcomes) -> str:
        """Whether the backend alone changes the result, too: of a suite, every test that differs."""
        alone = direct_objects(self.build).get(backend.name, "")
        if not alone:
            return ""
        try:
            bare, _, _ = self.run(row.program, backend, "bare", {"LD_PRELOAD": alone})
        except Failure:
            return ", as with the backend alone"
        if isinstance(bare, Outcomes) and isinstance(expected, Outcomes) and isinstance(found, Outcomes):
            explained = expected.differing(found.without(row.unsteady)) <= expected.differing(bare.without(row.unsteady))
        else:
            explained = bare != expected
        return ", as with the backend alone" if explained else ""

    def row(self, program: Program, backends: list[Backend], modes: list[str]) -> Row:
        fewer = [", ".join(names) for names, whole in (([b.name for b in backends], ALL), (modes, MODES)) if tuple(names) != whole]
        row = Row(program, f"with {' and '.join(fewer)} alone" if fewer else "")
        absent = [name for name in program.needs if not Path(program_path(name)).exists()]
        row.version = version_of(program)
        if absent or not row.version:
            row.missing = f"not run: {', '.join(absent) or program.packages[0]} is not installed"
            return row
        if program.source and not self.source_of(program):
            row.missing = f"not run: the source package {program.source.split('|')[0]}, which has them, could not be had"
            return row
        try:
            expected, control, seconds = self.run(program, backends[0], "control", {})
            if isinstance(expected, Outcomes):
                again, _, _ = self.run(program, backends[0], "control", {})
                row.unsteady = expected.differing(again)
                expected = expected.without(row.unsteady)
        except (Failure, OSError, IndexError) as error:
            row.missing = f"not run: it fails without mallard, too: {short(str(error))}"
            return row
        print(f"{program.name} {row.version}: {seconds:.1f} s without mallard: {short(str(expected), 2000)}", flush=True)
        if row.unsteady:
            print(f"  two runs without mallard differ: {', '.join(sorted(row.unsteady))}", flush=True)
        for backend in backends:
            if backend.missing:
                row.excluded[backend.name] = backend.missing
                continue
            for mode in modes:
                why = program.excluded.get(backend.name) or program.excluded.get(f"{backend.name}/{mode}")
                if why:
                    row.excluded[f"{backend.name}, {mode}"] = why
                    continue
                self._cell(row, backend, mode, expected, control.took)
        return row

    def _cell(self, row: Row, backend: Backend, mode: str, expected: str | Outcomes, past: Sequence[float]) -> None:
        program = row.program
        variables = {"LD_PRELOAD": str(self.library), "ALLOC_BACKEND": backend.value, "ALLOC_MODE": mode}
        row.runs += 1
        wrong, found, run, took = "", "", None, 0.0
        try:
            found, run, took = self.run(program, backend, mode, variables, past, lambda result: bool(row.difference(expected, result)))
            wrong = row.difference(expected, found)
        except (Failure, OSError) as error:
            wrong = short(str(error))
        if wrong:
            row.wrong.append(f"{backend.name}, {mode}: {wrong}{self.bare_backend(row, backend, found, expected)}")
        given = run.reports if run else []
        row.reports += len(given)
        row.from_outside += sum(report.from_outside for report in given)
        row.unexplained = max([row.unexplained, *(report.unexplained for report in given)])
        if run and program.report and not given:
            row.too_short += 1
        print(f"  {backend.name}, {mode}: {took:.1f} s, {len(given)} reports"
              f"{' from outside' if any(g.from_outside for g in given) else ''}: {wrong or 'equal'}", flush=True)


def short(text: str, most: int = 160) -> str:
    text = re.sub(r"/\S*mallard-\S+|/work\S+", "...", " ".join(text.split())).replace("|", "/")
    return text if len(text) <= most else text[:most // 2] + " ... " + text[10 - most // 2:]


HEADING = ("| program | version | what runs | results equal | reports | most unexplained | remarks |\n|---|---|---|---|---|---|---|\n")


def write(rows: list[Row], options: argparse.Namespace) -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    old, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"matrix: error: {DOCUMENT.name} has no marks for the table")
    kept = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ") and not line.startswith("| program ")}
    made = {row.program.name: row.cells() for row in rows}
    lines = [made.get(p.name) or kept.get(p.name) for p in PROGRAMS]
    lines += [f"| {name} | | | | | | not run: {why} |" for name, why in ABSENT]
    told = (f"On {date.today():%-d %B %Y}, Debian {Path('/etc/debian_version').read_text().strip()}; backends "
            f"{', '.join(ALL)}; modes {', '.join(MODES)}.\n\n")
    DOCUMENT.write_text(before + BEGIN + told + HEADING + "\n".join(line for line in lines if line) + "\n" + END + after)


def chosen(options: argparse.Namespace) -> list[Program]:
    names = SHORT if options.short and not options.only else [name for name in options.only.split(",") if name]
    unknown = [name for name in names if name.lower() not in {p.name.lower() for p in PROGRAMS}]
    if unknown:
        print(f"matrix: error: no program is called {', '.join(unknown)}", file=sys.stderr)
        print(f"matrix: hint: {', '.join(p.name for p in PROGRAMS)}", file=sys.stderr)
        raise SystemExit(2)
    return [p for p in PROGRAMS if not names or p.name.lower() in {name.lower() for name in names}]


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    programs = chosen(options)
    if options.list or options.packages or options.sources:
        print("\n".join([p.name for p in programs] if options.list else [p.source for p in programs if p.source] if options.sources
                        else [spec for p in programs for spec in p.packages]))
        return 0
    if not (options.build / "libmallard.so").exists():
        print(f"matrix: error: no {options.build / 'libmallard.so'}", file=sys.stderr)
        return 3
    if options.short:
        options.backends = "jemalloc"
    processes.become_subreaper()
    wanted = options.backends.split(",")
    backends = [backend for backend in matrix(options.build.resolve()) if backend.name in wanted]
    table = Matrix(options)
    rows = []
    try:
        for program in programs:
            rows.append(table.row(program, backends, options.modes.split(",")))
            if options.write:
                write(rows, options)
    finally:
        table.close()
    print("\n" + HEADING + "\n".join(row.cells() for row in rows))
    runs, wrong = sum(row.runs for row in rows), sum(len(row.wrong) for row in rows)
    print(f"\n{runs} runs, {wrong} wrong, {sum(row.reports for row in rows)} reports, {sum(bool(row.missing) for row in rows)} programs not run")
    return 1 if wrong else 0 if runs else 77
