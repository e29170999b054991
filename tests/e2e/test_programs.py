# SPDX-License-Identifier: Apache-2.0
"""Programs of others under mallard: the short form of scripts/matrix programs, and whether it sees a difference."""
from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from programs.matrix import Matrix, Row, parse
from programs.program import Outcomes, Program, Run
from programs.suites import cargo_outcomes, perl_outcomes, postgres_outcomes, redis_outcomes, ruby_outcomes
from support.framework import REPOSITORY, Test


def test_results_are_those_without_mallard(t: Test) -> None:
    done = subprocess.run([REPOSITORY / "scripts" / "matrix", "programs", "--short", "--modes", "exact", "--no-install", "--build", t.build],
                          capture_output=True, text=True, check=False)
    t.check(done.returncode in (0, 77) and "runs, 0 wrong" in done.stdout, f"{done.stdout[-1500:]}{done.stderr[-500:]}")
    if done.returncode == 77:
        t.skip("none of its programs is installed")


def row_of(t: Test, run: Callable[[Run], str | Outcomes], source: str = "") -> Row:
    table = Matrix(parse(["--build", str(t.build)]))
    try:
        return table.row(Program("sh", "", ("dash",), ("sh",), ("bash", "--version"), run, report=False, source=source), [t.backend], ["off"])
    finally:
        table.close()


def test_a_difference_is_seen(t: Test) -> None:
    def tells(run: Run) -> str:
        return run.command("sh", "-c", "echo ${LD_PRELOAD:+preloaded}", watched=False).stdout
    row = row_of(t, tells)
    t.check(len(row.wrong) == 1 and "other result: preloaded" in row.wrong[0], f"{row}")


def test_of_a_suite_the_tests_that_differ_are_named(t: Test) -> None:
    """One fails and two are not run with mallard alone, one differs in any two runs, one fails always."""
    runs = []

    def tests(run: Run) -> Outcomes:
        runs.append(run)
        preloaded = run.command("sh", "-c", "echo ${LD_PRELOAD:+preloaded}", watched=False).stdout.strip()
        return Outcomes([*([] if preloaded else [("gone", "passed")] * 2), ("steady", "passed"), ("bad", "failed"), ("mallard", "failed" if preloaded else "passed"),
                         ("random", "failed" if len(runs) % 2 else "passed")])
    row = row_of(t, tests)
    t.equal(row.unsteady, {"random"}, "left out")
    t.equal(row.wrong, [f"{t.backend.name}, off: gone: not run instead of 2 passed; mallard: failed instead of passed"], "wrong")
    t.check(f"| with {t.backend.name} and off alone; " in row.cells(), row.cells())
    t.check("left out, because two runs without mallard differ: random; " in row.cells(), row.cells())


def test_a_suite_without_its_source_package_is_a_row_with_the_reason(t: Test) -> None:
    row = row_of(t, lambda _: "never run", source="no-such-source|nor-this")
    t.check("not run: the source package no-such-source" in row.cells(), row.cells())


REDIS = """\x1b[1;37;49mTesting unit/dump\x1b[0m
[\x1b[0;32;49mok\x1b[0m]: DUMP / RESTORE (3 ms)
[\x1b[0;32;49mok\x1b[0m]: RESTORE (with a TTL) (1 ms)
[\x1b[0;31;49merr\x1b[0m]: EXPIRE in tests/unit/expire.tcl
Expected 1 to be equal to 2
[\x1b[0;33;49mskip\x1b[0m]: Large memory flag not provided
[1/1 \x1b[0;33;49mdone\x1b[0m]: unit/dump (24 seconds)

                   The End

"""
PERL = "op/a.t\t5\t\t0\t0\t\nop/b.t\t2\t3,4\t512\t0\t\nop/c.t\t0\t\t0\t0\tno threads\nnot of the harness\nall of them\n"
RUBY = """[1/4] TestZ#test_bad = 0.00 s
[2/4] TestZ#test_ok = 0.00 s
[3/4] TestZ::Sub#test_err = 0.00 s
[4/4] TestZ#test_skip = 0.00 s

  1) Failure:
TestZ#test_bad [/z.rb:4]:
<1> expected but was

  2) Error:
TestZ::Sub#test_err:
RuntimeError: x

  3) Skipped:
TestZ#test_skip [/z.rb:7]:
no

4 tests, 10 assertions, 1 failures, 1 errors, 1 skips
"""
CARGO = """
running 3 tests
test parse::tests::one ... ok
test two - should panic ... ok
test three ... FAILED
test four ... ignored

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out
"""
POSTGRES = """test test_setup                   ... FAILED      441 ms
parallel group (2 tests):  char boolean
     boolean                      ... ok         1011 ms
     collate.linux.utf8           ... ok          429 ms
======================
 1 of 3 tests failed.
======================
"""


@pytest.mark.parametrize(("printed", "outcomes", "whole"), [
    (REDIS, redis_outcomes, "2 passed, 1 failed, 1 skipped; failed: EXPIRE; skipped: Large memory flag not provided"),
    (PERL, perl_outcomes, "7 passed, 3 failed, 1 skipped; failed: op/b.t 3; failed: op/b.t 4; failed: op/b.t with status 512; skipped: op/c.t"),
    (RUBY, ruby_outcomes, "1 passed, 2 failed, 1 skipped; failed: TestZ#test_bad; failed: TestZ::Sub#test_err; skipped: TestZ#test_skip"),
    (CARGO, cargo_outcomes, "2 passed, 1 failed, 1 skipped; failed: three; skipped: four"),
], ids=["redis", "perl", "ruby", "cargo"])
def test_outcomes_are_read_from_what_a_suite_prints(t: Test, printed: str, outcomes: Callable[[str], Outcomes], whole: str) -> None:
    t.equal(str(outcomes(printed)), whole, "read")
    cut = outcomes(printed[:len(printed) * 2 // 3])
    t.check(cut != outcomes(printed), f"a suite that ended early is as one that did not: {cut}")


def test_a_failure_of_pg_regress_is_what_the_test_printed(t: Test) -> None:
    results = t.tmp / "results"
    results.mkdir()
    found = []
    for text in ("one", f"one {t.tmp}", "one "):
        (results / "test_setup.out").write_text(text)
        found.append(postgres_outcomes(POSTGRES, t.tmp))
    t.check(str(found[0]).startswith("2 passed, 1 failed; failed as "), str(found[0]))
    t.equal(found[0].differing(found[1]), {"test_setup"}, "another text")
    t.equal(found[1], found[2], "the same text elsewhere")
    t.check("the suite itself" in str(postgres_outcomes(POSTGRES[:200], t.tmp)), "cut short")
