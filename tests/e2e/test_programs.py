# SPDX-License-Identifier: Apache-2.0
"""Programs of others under mallard: the short form of scripts/matrix programs, and whether it sees a difference."""
from __future__ import annotations

import subprocess

from programs.matrix import Matrix, parse
from programs.program import Program, Run
from support.framework import REPOSITORY, Test


def test_results_are_those_without_mallard(t: Test) -> None:
    done = subprocess.run([REPOSITORY / "scripts" / "matrix", "programs", "--short", "--modes", "exact", "--no-install", "--build", t.build],
                          capture_output=True, text=True, check=False)
    t.check(done.returncode in (0, 77) and "runs, 0 wrong" in done.stdout, f"{done.stdout[-1500:]}{done.stderr[-500:]}")
    if done.returncode == 77:
        t.skip("none of its programs is installed")


def test_a_difference_is_seen(t: Test) -> None:
    def tells(run: Run) -> str:
        return run.command("sh", "-c", "echo ${LD_PRELOAD:+preloaded}", watched=False).stdout
    program = Program("sh", "", ("dash",), ("sh",), ("bash", "--version"), tells, report=False)
    table = Matrix(parse(["--build", str(t.build)]))
    try:
        row = table.row(program, [t.backend], ["off"])
    finally:
        table.close()
    t.check(len(row.wrong) == 1 and "other result: preloaded" in row.wrong[0], f"{row}")
