# SPDX-License-Identifier: Apache-2.0
"""scripts/remedies: runs programs in which one setting is known to help, follows what the report advises first, and holds
what that saved against what was predicted; and programs in which nothing helps, where nothing may be advised."""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.backends import matrix
from support.framework import PATIENCE, REPOSITORY, Failure, Skip, Test

from .accuracy import rewrite
from .workloads import build_workload

MEGA = 1 << 20


@dataclass(frozen=True)
class Case:
    program: str
    backend: str
    expected: str                 # the remedy that is right; '' for none
    mode: str = "sample"
    idle_ms: int = 0

    @property
    def name(self) -> str:
        return f"{self.program}, {self.backend}"


# From glibc 2.42 on a block that a thread caches stays below the top, which then hardly shrinks by itself.
GLIBC = tuple(int(part) for part in os.confstr("CS_GNU_LIBC_VERSION").split()[-1].split(".")[:2])

HELPED = (
    Case("top_after_large_frees", "system", "trim_threshold" if GLIBC < (2, 42) else "purge"),
    Case("buffers_of_idle_threads", "system", "trim_threshold"),
    Case("buffers_between_entries", "system", "mmap_threshold"),
    Case("arenas_of_idle_threads", "system", "arena_limit"),
    Case("small_caches_of_idle_threads", "system", "thread_caches"),
    Case("free_pages_below_an_entry", "system", "purge"),
    Case("aligned_frames", "system", "other_backend", "exact"),
    Case("entries_pin_pages", "system", "pool", "exact"),
    Case("pages_of_an_idle_program", "jemalloc", "background_thread", idle_ms=20000),
    Case("caches_of_idle_threads", "jemalloc", "thread_caches", idle_ms=13000),
    Case("pages_of_busy_threads", "mimalloc2", "purge_delay"),
    Case("pages_of_busy_threads", "mimalloc3", "purge_delay"),
    Case("huge_pages_hardly_touched", "system", "huge_pages_off"),
    Case("huge_pages_hardly_touched", "jemalloc", "huge_pages_off"),
)
HEALTHY = tuple(Case(program, backend, "", mode) for program, backend, mode in (
    ("all_live", "system", "exact"), ("large_live", "system", "sample"), ("live_of_threads", "system", "sample"),
    ("full_cache", "system", "exact"), ("random_replacement", "system", "sample"), ("small_program", "system", "sample"),
    ("bursts_beside_much", "system", "sample"), ("threads_that_end", "system", "sample"),
    ("huge_pages_filled", "system", "sample"), ("mapped_by_itself", "system", "sample"),
    ("all_live", "jemalloc", "sample"), ("random_replacement", "jemalloc", "sample"),
    ("bursts_beside_much", "mimalloc2", "sample"), ("threads_that_end", "mimalloc3", "sample"),
    ("full_cache", "mimalloc3", "sample"), ("live_of_threads", "jemalloc", "exact")))


@dataclass(frozen=True)
class Outcome:
    case: Case
    remedies: list[dict[str, Any]]
    before: int                   # anonymous memory of the process, bytes
    saved: int                    # by the first remedy
    said: str = ""

    @property
    def first(self) -> dict[str, Any] | None:
        return self.remedies[0] if self.remedies else None

    @property
    def is_right(self) -> bool:
        return (self.first["name"] if self.first else "") == self.case.expected

    @property
    def error(self) -> float | None:
        if not self.first or not self.first["predicted"] or self.saved <= 0:
            return None
        return self.first["saving_bytes"] / self.saved - 1

    @property
    def is_within(self) -> bool:
        return self.error is not None and abs(self.error) <= 0.2


def run_program(case: Case, build: Path, *arguments: str, **extra: str) -> tuple[int, dict[str, Any]]:
    """What the program has in memory, and the report of the same state."""
    backend = next(b for b in matrix(build) if b.name == case.backend)
    if backend.missing:
        raise Skip(backend.missing)
    with tempfile.TemporaryDirectory(prefix="remedies.") as folder:
        t = Test(backend, build, Path(folder), Path(folder))
        program = build_workload(t, "remedies")
        env = t.preload_env(**({"ALLOC_REPORT": f"{folder}/report.%n", "WORKLOAD_REPORTS": folder,
                                "ALLOC_MODE": case.mode} | extra))
        try:
            done = subprocess.run([program, case.program, str(case.idle_ms), *arguments], env=env, cwd=folder,
                                  capture_output=True, text=True, timeout=PATIENCE * 120)
        finally:
            t.close()
        if done.returncode != 0:
            raise Failure(f"{case.name}: status {done.returncode}: {done.stderr.strip()[-300:]}")
        return int(done.stdout), json.loads((Path(folder) / "report.0001.json").read_text())


def try_case(case: Case, build: Path) -> Outcome:
    before, report = run_program(case, build)
    remedies = report["remedies"]
    if not remedies:
        return Outcome(case, remedies, before, 0)
    first = remedies[0]
    if first["name"] == "purge":
        saved = run_program(case, build, ALLOC_PROBE="purge")[1]["probe"]["given_back_bytes"]
    elif first["name"] == "pool":
        saved = before - run_program(case, build, "pool")[0]
    elif first["predicted"]:
        name, _, value = first["line"].partition("=")
        saved = before - run_program(case, build, **{name: value})[0]
    else:
        saved = 0
    return Outcome(case, remedies, before, saved)


def table(outcomes: list[Outcome]) -> str:
    lines = ["| program | in memory | first remedy | predicted | saved | error |", "|---|---|---|---|---|---|"]
    for o in outcomes:
        row = f"| {o.case.name}{' (exact mode)' if o.case.mode == 'exact' else ''} | {o.before / MEGA:.0f} MiB "
        if o.first is None:
            lines.append(row + "| none | | | |")
            continue
        row += f"| {o.first['name']}{'' if o.is_right else ' (wrong)'} "
        if o.first["predicted"]:
            row += f"| {o.first['saving_bytes'] / MEGA:.1f} MiB | {o.saved / MEGA:.1f} MiB "
        else:
            row += "| try it | "
        lines.append(row + (f"| {100 * o.error:+.0f} % |" if o.error is not None else "| |"))
    helped = [o for o in outcomes if o.case.expected]
    healthy = [o for o in outcomes if not o.case.expected]
    lines += ["", f"The right remedy came first in {sum(o.is_right for o in helped)} of {len(helped)} programs that one "
                  f"helps, and its saving was predicted within 20 % in {sum(o.is_within for o in helped)}. "
                  f"{sum(bool(o.remedies) for o in healthy)} of {len(healthy)} healthy programs were offered one."]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/remedies", description=__doc__)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--only", default="", metavar="TEXT", help="programs whose name has TEXT in it")
    parser.add_argument("--no-document", action="store_true", help="print the table, leave docs/accuracy.md alone")
    options = parser.parse_args(arguments)
    build = options.build.resolve()
    if not (build / "libmallard.so").exists():
        print(f"remedies: error: no {build / 'libmallard.so'}", file=sys.stderr)
        return 3
    outcomes = []
    for case in HELPED + HEALTHY:
        if options.only not in case.name:
            continue
        try:
            outcomes.append(try_case(case, build))
        except Skip as reason:
            print(f"left out: {case.name}: {reason}")
            continue
        print(table(outcomes[-1:]).splitlines()[2], *(r["name"] for r in outcomes[-1].remedies), flush=True)
    text = table(outcomes)
    print(f"\n{text}")
    if not (options.no_document or options.only):
        rewrite("remedies", text)
    return 0 if all(o.is_right for o in outcomes) else 1
