# SPDX-License-Identifier: Apache-2.0
"""Runs each tests/e2e/cases/*.{c,cpp} that carries its expectation in its head, one directive a line:

    // BACKENDS: all | system jemalloc ...   makes the file a test (files without it are helpers)
    // LINK: helper.c                        a shared library that the program is linked with
    // BUILD: helper.cpp                     a shared library that the program opens itself
    // FLAGS: -lm                            for the compiler
    // ENV: NAME=value                       for the run; repeatable
    // EXIT: 0                               exit status
    // STDOUT: regex   // STDERR: regex   // STDERR_NOT: regex
    // REPORTS: 2                            number of reports, each of which is validated
    // SECONDS: 60                           time limit
    // AGAIN: mimalloc3 regex                failures that are this backend's own fault: run once more
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.compiler import build_case
from support.framework import ALL, CASES_DIR, Failure, Test
from support.marks import again
from support.reports import check_written, report_files

DIRECTIVE = re.compile(r"^// ([A-Z_]+): (.*)$", re.MULTILINE)


def directives(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in DIRECTIVE.findall(path.read_text()):
        found.setdefault(name, []).append(value.strip())
    return found


def build(t: Test, path: Path, asked: dict[str, list[str]]) -> Path:
    for helper in asked.get("BUILD", []):
        build_case(t, helper, shared=True)
    links = tuple(build_case(t, helper, shared=True) for helper in asked.get("LINK", []))
    flags = " ".join(asked.get("FLAGS", [])).split()
    return build_case(t, path.name, *flags, links=links)


def run_case(t: Test, path: Path, asked: dict[str, list[str]]) -> None:
    program = build(t, path, asked)
    env = t.preload_env(E2E_DIR=str(t.dir), E2E_LIBRARY=str(t.library),
                        **dict(pair.split("=", 1) for pair in asked.get("ENV", [])))
    expected_exit = int(asked.get("EXIT", ["0"])[0])
    done = t.run([program], env, seconds=float(asked.get("SECONDS", ["30"])[0]), expect=expected_exit,
                 label=path.stem)
    for pattern in asked.get("STDOUT", [r"^ok\n"]):
        t.check(re.search(pattern, done.stdout, re.MULTILINE), f"stdout does not match {pattern!r}: "
                f"{done.stdout[-200:]!r}")
    for pattern in asked.get("STDERR", []):
        t.check(re.search(pattern, done.stderr, re.MULTILINE), f"stderr does not match {pattern!r}: "
                f"{done.stderr[-200:]!r}")
    expects_error = any("mallard: error" in pattern for pattern in asked.get("STDERR", []))
    for pattern in [*asked.get("STDERR_NOT", []), *([] if expects_error else [r"mallard: error"])]:
        t.check(not re.search(pattern, done.stderr), f"stderr matches {pattern!r}: {done.stderr[-300:]!r}")
    t.notes += re.findall(r"^note: (.*)$", done.stderr, re.MULTILINE)
    if "REPORTS" in asked:
        files = report_files(t.dir)
        t.equal(len(files), int(asked["REPORTS"][0]), "number of reports")
        for file in files:
            check_written(t, file, pid=done.pid)


def wanted_backends(asked: dict[str, list[str]], name: str) -> list[str]:
    wanted = asked["BACKENDS"][0].split()
    if unknown := set(wanted) - {"all", *ALL}:
        raise Failure(f"{name}: unknown backends {unknown}")
    return [*ALL] if "all" in wanted else wanted


def marks_of(asked: dict[str, list[str]]) -> list[pytest.MarkDecorator]:
    faults = dict(text.partition(" ")[::2] for text in asked.get("AGAIN", []))
    return [pytest.mark.timeout(float(asked.get("SECONDS", ["30"])[0]) + 10), again(**faults)]


def parameters(are_functions: bool) -> Iterator[Any]:
    """Every case under each of its backends; files that begin with fn_ test one function of the family each."""
    for path in sorted([*CASES_DIR.glob("*.c"), *CASES_DIR.glob("*.cpp")]):
        asked = directives(path)
        if "BACKENDS" in asked and path.stem.startswith("fn_") == are_functions:
            for backend in wanted_backends(asked, path.name):
                yield pytest.param(path, backend, id=f"{path.stem.removeprefix('fn_')}-{backend}", marks=marks_of(asked))


@pytest.mark.parametrize("path, backend", parameters(are_functions=True), indirect=["backend"])
def test_interposition(t: Test, path: Path) -> None:
    run_case(t, path, directives(path))


@pytest.mark.parametrize("path, backend", parameters(are_functions=False), indirect=["backend"])
def test_case(t: Test, path: Path) -> None:
    run_case(t, path, directives(path))
