# SPDX-License-Identifier: Apache-2.0
"""The command line of scripts/bench."""
from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from . import micro, programs, report_cost
from .budgets import against_heaptrack, judged, over_all_programs
from .compare import FiguresError, compared_with, joined, read_figures
from .measure import BenchError, Spread, instrument, ratios
from .startup import fork_script_ns, start_up_ns
from .subjects import IN_PROCESS_PEERS, LATENCY, MODES, PEERS, Group, Subject, choose_groups, complaint_of
from .tables import Result, as_data, table

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "tests" / "bench" / "figures.json"  # of docs/performance.md
BACKENDS = ["system", "jemalloc", "mimalloc2", "mimalloc3", "tcmalloc"]


def report_case(text: str) -> report_cost.Case:
    megabytes, objects = text.split(":")
    return report_cost.Case(int(megabytes), int(objects))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures libmallard.so against a direct preload of the same allocator in the same run: "
                    "time and instructions of malloc/free pairs, real programs, start-up. Installs nothing.",
        epilog="exit status: 0 measured and every budget met, 1 a budget missed, 2 usage, 3 could not measure")
    parser.add_argument("--build", type=Path, default=ROOT / "build", metavar="DIR",
                        help="where libmallard.so and backends/ are (default: build)")
    parser.add_argument("--quick", action="store_true", help="smaller inputs and fewer rounds: a few minutes")
    parser.add_argument("--rounds", type=int, default=0, metavar="N",
                        help="interleaved rounds of timing (default: 15, with --quick 3)")
    parser.add_argument("--only", default="", metavar="PATTERN",
                        help="regular expression; measures only what matches 'suite/workload/quantity', for "
                             "example 'micro/.*instructions', 'programs/redis' or 'start-up'")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only these; may be repeated")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N",
                        help="instruction counts at a time (default: up to 2)")
    parser.add_argument("--reports", metavar="MB:OBJECTS", action="append", type=report_case,
                        help="measures instead what a report costs a program with such a heap, for example "
                             "8192:10000000; may be repeated; needs twice the memory")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="where the raw figures go (default: bench/figures.json, with --quick "
                             "bench/figures-quick.json, in the build directory); figures there that this run does "
                             "not measure stay")
    parser.add_argument("--against", type=Path, metavar="FILE",
                        help="raw figures to compare with: says which ratios have moved by more than the noise of "
                             "both runs (default: what the last run wrote, before this one writes; if there is "
                             "nothing, those of docs/performance.md, tests/bench/figures.json)")
    chosen = parser.parse_args(arguments)
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 15)
    return chosen


class Bench:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, groups: list[Group], folder: Path) -> None:
        self.options, self.groups, self.folder = options, groups, folder
        self.counting = instrument()
        self.results: list[Result] = []

    def wanted(self, suite: str, what: str, quantity: str) -> bool:
        return re.search(self.options.only, f"{suite}/{what}/{quantity}") is not None

    def subjects(self, *kinds: str) -> list[Subject]:
        return [subject for group in self.groups for subject in group.all() if subject.kind in kinds]

    def add(self, suite: str, what: str, quantity: str, unit: str, values: dict[Subject, list[float]],
            budgeted: bool = True) -> None:
        """Compares every subject with the direct one of its group."""
        added = []
        for group in self.groups:
            base = values[group.direct]
            for subject in group.others:
                if subject not in values:
                    continue
                value, compared = Spread.of(values[subject]), ratios(values[subject], base)
                more = Spread.of([here - bare for here, bare in zip(values[subject], base)])
                result = Result(suite, what, subject.name, quantity, unit, value, Spread.of(base), compared,
                                more.middle)
                added.append(judged(result, subject.kind) if budgeted or subject.kind == "exact" else result)
        self.results += added
        print(table(f"{suite}: {what}, {quantity} in {unit}", added), flush=True)

    def run_micro(self) -> None:
        pairs = micro.compile_pairs(self.folder)
        for workload in micro.WORKLOADS:
            if self.counting and self.wanted("micro", workload.name, "instructions"):
                self.add("micro", workload.name, "instructions", "instructions per pair",
                         micro.at_once(self.subjects("direct", *MODES), 1, self.options.jobs,
                                       lambda s: micro.count_instructions(pairs, workload, s, self.folder)),
                         workload.budgeted)
            if self.wanted("micro", workload.name, "time"):
                small = ("dhat",) if workload.argument == "rotate" else ()  # one case: it is 100 times slower
                self.add("micro", workload.name, "time", "ns per pair",
                         micro.interleaved(self.subjects("direct", *MODES, LATENCY, *IN_PROCESS_PEERS, *small),
                                           self.options.rounds,
                                           lambda s: micro.time_ns(pairs, workload, s)),
                         workload.timed and workload.budgeted)

    def run_programs(self) -> None:
        found, left_out = programs.find_programs(self.folder, self.options.quick)
        for line in left_out:
            print(f"left out: {line}")
        for program in found:
            if self.counting and program.counted and self.wanted("programs", program.name, "instructions"):
                runs = 3 if program.varies and not self.options.quick else 1
                counts = micro.at_once(
                    self.subjects("direct", "sample", "exact", "profiler"), runs, self.options.jobs,
                    lambda s: programs.count_instructions(program, s, self.folder) / 1e6)
                self.add("programs", program.name, "instructions", "millions of instructions", counts)
            if self.wanted("programs", program.name, "time"):
                rounds = max(3, self.options.rounds // 3)  # long ones, and many subjects
                peers = PEERS if program.counted else IN_PROCESS_PEERS  # heaptrack follows no children
                times = micro.interleaved(self.subjects("direct", *MODES, *peers), rounds,
                                          lambda s: programs.cpu_time_ns(program, s, self.folder) / 1e6)
                self.add("programs", program.name, "time", "ms of CPU", times, budgeted=False)

    def run_start_up(self) -> None:
        times = 50 if self.options.quick else 100  # in each of 5 rounds
        if self.wanted("start-up", "/bin/true", "time"):
            self.add("start-up", "/bin/true", "time", "ms of wall clock per process",
                     micro.interleaved(self.subjects("direct", *MODES), 5,
                                       lambda s: start_up_ns(s, times) / 1e6))
        if self.wanted("start-up", "1000 forks", "time"):
            self.add("start-up", "1000 forks", "time", "ms of CPU",
                     micro.interleaved(self.subjects("direct", *MODES), max(3, self.options.rounds // 3),
                                       lambda s: fork_script_ns(s) / 1e6))

    def print_summaries(self) -> None:
        for title, lines in (("programs: geometric means", over_all_programs(self.results)),
                             ("CPU time that heaptrack adds, and exact mode", against_heaptrack(self.results))):
            if lines:
                print(title, *lines, "", sep="\n")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    library = options.build.resolve() / "libmallard.so"
    if not library.exists():
        print(f"bench: error: no {library}\nbench: hint: build first, or name the directory with --build",
              file=sys.stderr)
        return 3
    groups, left_out = choose_groups(library, options.backend or BACKENDS)
    figures = options.json or options.build / "bench" / ("figures-quick.json" if options.quick else "figures.json")
    against = options.against or next((f for f in (figures, REFERENCE) if f.exists()), None)
    try:
        for path in filter(None, (against, figures.exists() and figures)):
            read_figures(path)  # before an hour of measuring
        for group in groups:
            for subject in group.others:
                if complaint := complaint_of(subject):
                    raise BenchError(f"{subject.name}: {complaint}")
        work = library.parent / "bench"
        work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run.", dir=work) as folder:
            if options.reports:
                return report_cost.run(groups, options.reports, max(5, options.rounds // 3), Path(folder))
            bench = Bench(options, groups, Path(folder))
            header: dict[str, object] = {"rounds": options.rounds, "quick": options.quick,
                                         "instrument": bench.counting, "cores": os.cpu_count(),
                                         "kernel": platform.release().split("-")[0]}
            print(f"{os.cpu_count()} cores, {options.rounds} interleaved rounds; instructions by "
                  f"{bench.counting or 'nothing (install valgrind)'}; ratios to the same allocator, direct")
            for line in left_out:
                print(f"left out: {line}")
            print()
            bench.run_micro()
            bench.run_programs()
            bench.run_start_up()
            bench.print_summaries()
    except (BenchError, FiguresError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 3
    data = as_data(bench.results, header)
    try:
        if against:
            print(compared_with(against, bench.results))
        figures.write_text(json.dumps(joined(data, figures), indent=1) + "\n")
    except FiguresError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"bench: error: the figures cannot be written to {figures}: {error.strerror}", file=sys.stderr)
        return 3
    missed = [r for r in bench.results if r.met is False]
    judged_count = sum(r.met is not None for r in bench.results)
    print(f"{judged_count - len(missed)} of {judged_count} budgets met")
    for r in missed:
        print(f"  missed: {r.what}, {r.quantity}, {r.subject}: {r.added:+.2f} {r.unit}, ratio "
              f"{r.ratio.middle:.3f}; budget {r.budget}")
    return 1 if missed else 0
