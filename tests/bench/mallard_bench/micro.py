# SPDX-License-Identifier: Apache-2.0
"""The micro workloads of pairs.c: time and instructions per malloc/free pair."""
from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .measure import BenchError, instructions, run
from .subjects import Subject

SOURCE = Path(__file__).resolve().parent.parent / "pairs.c"


@dataclass(frozen=True)
class Workload:
    name: str          # in the tables
    argument: str      # of pairs
    operations: int    # in one repetition
    repetitions: int   # of which the fastest counts
    timed: bool = True     # against the budget: threads that wait for one another are not
    budgeted: bool = True  # realloc, threads and deep stacks have none, except for exact mode's


WORKLOADS = (
    Workload("pair of 64 B", "pair", 200_000, 30),
    Workload("new/delete of 64 B", "new_delete", 200_000, 30),
    Workload("64 live, 16-512 B", "rotate", 200_000, 20),
    Workload("100k live, 16-512 B", "working_set", 300_000, 8),
    Workload("realloc growth", "realloc", 50_000, 8, budgeted=False),
    Workload("producer/consumer", "producer_consumer", 102_400, 12, timed=False, budgeted=False),
    Workload("thread churn", "thread_churn", 102_400, 8, timed=False, budgeted=False),
    Workload("five frames change", "deep_calls", 100_000, 12, budgeted=False),
)


def compile_pairs(folder: Path) -> Path:
    target = folder / "pairs"
    if not target.exists() or target.stat().st_mtime < SOURCE.stat().st_mtime:
        command = ["gcc", "-std=gnu11", "-O2", "-fno-builtin", "-Wall", "-Wextra", "-pthread",
                   "-o", str(target), str(SOURCE), "-lstdc++"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"pairs.c does not compile: {done.stderr.strip()[-500:]}")
    return target


def time_ns(pairs: Path, workload: Workload, subject: Subject) -> float:
    """\\return nanoseconds per operation"""
    command = [*subject.wrapper, str(pairs), workload.argument, str(workload.operations), str(workload.repetitions)]
    return float(run(command, subject.environment()))


def count_instructions(pairs: Path, workload: Workload, subject: Subject, folder: Path) -> float:
    """\\return instructions per operation: the difference of n and 2n operations, so that neither start-up nor
    filling the working set counts"""
    n = 2 * workload.operations if workload.argument == "working_set" else workload.operations
    once, twice = (instructions([str(pairs), workload.argument, str(k * n), "1"],
                                subject.environment(), folder) for k in (1, 2))
    return (twice - once) / n


def interleaved(subjects: Iterable[Subject], rounds: int,
                one: Callable[[Subject], float]) -> dict[Subject, list[float]]:
    """Every subject once per round, in turn, and in the opposite order every other round."""
    order = list(subjects)
    values: dict[Subject, list[float]] = {subject: [] for subject in order}
    for index in range(rounds):
        for subject in order if index % 2 == 0 else reversed(order):
            values[subject].append(one(subject))
    return values


def at_once(subjects: Iterable[Subject], runs: int, jobs: int,
            one: Callable[[Subject], float]) -> dict[Subject, list[float]]:
    """Counts do not suffer from company: several at a time."""
    order = [subject for subject in subjects for _ in range(runs)]
    values: dict[Subject, list[float]] = {subject: [] for subject in order}
    with ThreadPoolExecutor(jobs) as pool:
        for subject, value in zip(order, pool.map(one, order)):
            values[subject].append(value)
    return values
