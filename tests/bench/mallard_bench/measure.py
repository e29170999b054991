# SPDX-License-Identifier: Apache-2.0
"""The two instruments: user and system CPU time of a child, and its instructions under valgrind."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median


class BenchError(Exception):
    """A measured program failed; the text says which and how."""


@dataclass(frozen=True)
class Spread:
    """A measured quantity: the median of several runs, and the extremes."""
    middle: float
    low: float
    high: float
    runs: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        return Spread(median(values), min(values), max(values), len(values))


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Run by run, because neighbours in time share the machine's mood."""
    return Spread.of([value / b for value, b in zip(values, base)])


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """\\return standard output"""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def cpu_ns(child: "subprocess.Popen[bytes]", what: str) -> float:
    """Waits for `child`. \\return its user and system time"""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise BenchError(f"{what}: status {child.returncode}")
    return (used.ru_utime + used.ru_stime) * 1e9


@lru_cache
def hardware_counts() -> bool:
    """Does this machine count instructions in hardware?"""
    if not shutil.which("perf"):
        return False
    tried = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "/bin/true"],
                           capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    return tried.returncode == 0 and re.search(r"^\d+,", tried.stderr, re.MULTILINE) is not None


def instrument() -> str:
    """What counts instructions here, for the reader of the tables; '' if nothing does."""
    if hardware_counts():
        return "hardware counters (perf stat)"
    return "valgrind's callgrind" if shutil.which("valgrind") else ""


class InstructionCounter:
    """Wraps one command line so that its user-space instructions are counted; read `result` after it ended."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(prefix="count.", dir=folder)
        os.close(handle)
        self.log = Path(name)

    def wrapped(self, command: Sequence[str]) -> list[str]:
        if hardware_counts():
            return ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(self.log), *command]
        # The exports are rewritten after they may have been translated: --smc-check.
        return ["valgrind", "--tool=callgrind", "--smc-check=all", "--trace-children=no",
                "--callgrind-out-file=/dev/null", f"--log-file={self.log}", *command]

    def result(self) -> float:
        text = self.log.read_text()
        self.log.unlink()
        found = re.search(r"^(\d+),", text, re.MULTILINE) or re.search(r"Collected : (\d+)", text)
        if not found:
            raise BenchError(f"no count of instructions in: {text[-500:]}")
        return float(found.group(1))


def instructions(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    counter = InstructionCounter(folder)
    run(counter.wrapped(command), environment)
    return counter.result()
