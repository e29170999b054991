# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the Python suites: the build, a backend and a mode, a helper `t` with a directory of its own.

Whatever a test has started is ended with it, daemons and orphans included. Output of a test that failed stays in
BUILD/e2e/SUITE.TEST/.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True

import pytest  # noqa: E402
from _pytest.runner import runtestprotocol  # noqa: E402

from cli.harness import Test as CommandTest  # noqa: E402
from support import processes  # noqa: E402
from support.backends import Backend, matrix  # noqa: E402
from support.framework import ALL, PATIENCE, REPOSITORY, Test  # noqa: E402

SESSION = "MALLARD_TEST_SESSION"  # a directory that all processes of one run share
FAILED = pytest.StashKey[bool]()


# ---- options and the whole run
def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mallard")
    group.addoption("--build", default="build", metavar="DIR", help="build directory (default: build)")
    group.addoption("--backend", action="append", default=[], choices=ALL, help="only this backend; repeatable")
    group.addoption("--keep", action="store_true", help="keep the output of passed tests as well")
    group.addoption("--extra", action="store_true", help="also tests that take longer than CI has, marked extra")
    group.addoption("--update-golden", action="store_true",
                    help="write tests/cli/golden anew and show what changed, with -k golden_outputs")


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "again(**faults): failures that are a backend's own fault: run once more")
    config.addinivalue_line("markers", "extra: more of the same kind as a shorter test: only with --extra")
    config.addinivalue_line("markers", "xdist_group(name): tests that one process runs, one after the other")
    processes.become_subreaper()
    # A shell starts what it puts into the background with these ignored, and every child would inherit that.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if is_worker(config):
        os.setsid()  # no terminal: the tests must not depend on one
    elif not config.option.collectonly:
        os.environ[SESSION] = tempfile.mkdtemp(prefix="mallard-session-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config) and SESSION in os.environ:
        shutil.rmtree(os.environ.pop(SESSION), ignore_errors=True)


def build_of(config: pytest.Config) -> Path:
    build = Path(config.option.build)
    return (build if build.exists() or build.is_absolute() else REPOSITORY / build).resolve()


def pytest_sessionstart(session: pytest.Session) -> None:
    build = build_of(session.config)
    for name in ("libmallard.so", "mallard"):
        if not (build / name).exists() and not session.config.option.collectonly:
            pytest.exit(f"{build / name} does not exist; build first", 1)


# ---- which tests, in which order
def backend_of(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("backend", "system") if callspec else "system"


def seconds_of(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else float(item.config.getini("timeout"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def is_wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("extra") and not config.option.extra:
            return False
        return not config.option.backend or backend_of(item) in config.option.backend

    left_out = [item for item in items if not is_wanted(item)]
    items[:] = [item for item in items if is_wanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    # The longest first: they would otherwise run alone at the end.
    items.sort(key=lambda item: -seconds_of(item))
    for item in items:
        item.add_marker(pytest.mark.timeout(PATIENCE * seconds_of(item)), append=False)


# ---- verdicts
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or outcome.get_result().failed


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Runs a test a second time whose failure is a known fault of its backend."""
    mark = item.get_closest_marker("again")
    fault = mark.kwargs.get(backend_of(item)) if mark else None
    if not fault:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    texts = [str(report.longrepr) for report in reports if report.failed]
    if any(re.search(fault, text) for text in texts):
        item._initrequest()
        item.stash[FAILED] = False
        item.user_properties.append(("note", f"run again after a known fault of {backend_of(item)} itself: {fault}"))
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Notes of tests, those of tests that were run again always, the others with -v; and BUILD/pytest.failed, the names
    of those that failed."""
    failed = {re.sub(r"@\w+$", "", report.nodeid) for kind in ("failed", "error") for report in terminalreporter.getreports(kind)}
    build_of(terminalreporter.config).joinpath("pytest.failed").write_text("".join(f"{name}\n" for name in sorted(failed)))
    verbose = terminalreporter.config.option.verbose > 0
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties if report.when == "teardown" else ():
            if name == "note" and (verbose or text.startswith("run again")):
                terminalreporter.write_line(f"note: {report.nodeid}: {text}")


# ---- fixtures
@pytest.fixture(scope="session")
def build(pytestconfig: pytest.Config) -> Path:
    """The build directory."""
    return build_of(pytestconfig)


@pytest.fixture(scope="session")
def library(build: Path) -> Path:
    return build / "libmallard.so"


@pytest.fixture(scope="session")
def mallard(build: Path) -> Path:
    """The command."""
    return build / "mallard"


@pytest.fixture
def backend(request: pytest.FixtureRequest, build: Path) -> Backend:
    """The backend of the test, by the decorators of support/marks.py; skips where this machine does not have it."""
    name = getattr(request, "param", "system")
    found = next(row for row in matrix(build) if row.name == name)
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture
def mode(request: pytest.FixtureRequest) -> str:
    """ALLOC_MODE of the test, where it is parametrised by that."""
    return getattr(request, "param", "")


def directory_of(request: pytest.FixtureRequest, build: Path) -> Path:
    suite = request.path.parent.name
    name = re.sub(r"[^\w.-]+", ".", request.node.name.removeprefix("test_")).strip(".")
    return build / "e2e" / f"{suite}.{request.path.stem.removeprefix('test_')}.{name}"


@pytest.fixture
def t(request: pytest.FixtureRequest, build: Path, backend: Backend, mode: str) -> Iterator[Test | CommandTest]:
    """The helper of the suite: cli.harness.Test for the command, support.framework.Test for the others."""
    if request.path.parent.name == "cli":
        with CommandTest(build) as command_test:
            yield command_test
            processes.end_descendants(os.getpid())
        return
    directory = directory_of(request, build)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    test = Test(backend, build, directory, Path(os.environ[SESSION]), mode)
    yield test
    processes.end_descendants(os.getpid())
    test.close()
    request.node.user_properties.extend(("note", note) for note in test.notes)
    if not request.node.stash.get(FAILED, False) and not request.config.option.keep:
        shutil.rmtree(directory, ignore_errors=True)
