# SPDX-License-Identifier: Apache-2.0
"""Finds the tests, runs each in a process of its own, prints one line per test."""
from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .backends import Backend, matrix
from .framework import PATIENCE, REGISTRY, Declared, Failure, Skip, Test
from .runner_paths import REPOSITORY




@dataclass
class Job:
    name: str
    declared: Declared
    backend: Backend
    pid: int = 0
    started: float = 0.0
    is_repeated: bool = False


def main(arguments: list[str], package: str = __package__, program: str = "tests/e2e/run") -> int:
    """Runs what the modules tests_*.py of `package` declare."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--backend", action="append", metavar="B", help="only this backend; repeatable")
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="only tests whose name contains PATTERN; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="tests at the same time (default: 2)")
    parser.add_argument("--keep", action="store_true", help="keep the output of passed tests as well")
    parser.add_argument("--list", action="store_true", help="print the names and do nothing")
    options = parser.parse_args(arguments)

    build = Path(options.build)
    build = (build if build.exists() or build.is_absolute() else REPOSITORY / build).resolve()
    jobs = select(build, options.backend, options.patterns, package)
    if options.list:
        print("\n".join(job.name for job in jobs))
        return 0
    if not (build / "libmallard.so").exists():
        print(f"{program}: {build / 'libmallard.so'} does not exist; build first", file=sys.stderr)
        return 1
    return run_all(jobs, build, options.jobs, options.keep)


def select(build: Path, backends: list[str] | None, patterns: list[str] | None, package: str) -> list[Job]:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.name.startswith("tests_"):
            importlib.import_module(f"{package}.{module.name}")
    known = {backend.name: backend for backend in matrix(build)}
    for name in backends or []:
        if name not in known:
            sys.exit(f"no backend '{name}'; there are: {' '.join(known)}")
    found = [Job(f"{declared.name}.{name}" if len(declared.backends) > 1 else declared.name,
                 declared, known[name])
             for declared in REGISTRY if declared.function.__module__.startswith(package + ".")
             for name in declared.backends]
    # The longest first: they would otherwise run alone at the end.
    found.sort(key=lambda job: -job.declared.timeout)
    return [job for job in found
            if (not backends or job.backend.name in backends)
            and (not patterns or any(pattern in job.name for pattern in patterns))]


def run_all(todo: list[Job], build: Path, at_once: int, keep: bool) -> int:
    session = build / "e2e" / "session"
    shutil.rmtree(session, ignore_errors=True)
    session.mkdir(parents=True)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    running: dict[int, Job] = {}
    waiting = list(todo)
    begin = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                start(job, build, session)
                running[job.pid] = job
            pid, _ = os.waitpid(-1, os.WNOHANG)
            late = [job for job in running.values()
                    if time.monotonic() - job.started > PATIENCE * job.declared.timeout]
            if pid == 0 and not late:
                time.sleep(0.01)
                continue
            job = late[0] if pid == 0 else running.get(pid)
            if job is None:
                continue
            del running[job.pid]
            verdict, reason = collect(job, build, timed_out=pid == 0)
            fault = job.declared.again.get(job.backend.name)
            if verdict == "FAIL" and fault and not job.is_repeated and re.search(fault, reason):
                print(f"again {job.name}: a known fault of {job.backend.name} itself: {reason}", flush=True)
                job.is_repeated = True
                waiting.insert(0, job)
                continue
            counts[verdict] += 1
            seconds = time.monotonic() - job.started
            print(f"{verdict} {job.name} ({seconds:.1f} s){': ' + reason if reason else ''}", flush=True)
            if verdict != "FAIL" and not keep:
                shutil.rmtree(directory_of(job, build), ignore_errors=True)
    except KeyboardInterrupt:
        for job in running.values():
            end(job)
        print("interrupted")
        return 1
    shutil.rmtree(session, ignore_errors=True)
    if counts["FAIL"]:
        print(f"output of the failed tests: {build / 'e2e'}/<test>/")
    print(f"{time.monotonic() - begin:.0f} s in all")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


def directory_of(job: Job, build: Path) -> Path:
    return build / "e2e" / job.name


def start(job: Job, build: Path, session: Path) -> None:
    directory = directory_of(job, build)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    sys.stdout.flush()
    job.started = time.monotonic()
    job.pid = os.fork()
    if job.pid == 0:
        os._exit(child(job, build, directory, session))


def child(job: Job, build: Path, directory: Path, session: Path) -> int:
    """The test's own process: leader of a session, reaper of everything that the test starts."""
    os.setsid()
    processes.become_subreaper()
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    verdict, reason = "FAIL", ""
    test = Test(job.name, job.backend, build, directory, session)
    try:
        if job.backend.missing:
            raise Skip(job.backend.missing)
        job.declared.function(test)
        verdict, reason = "ok", "; ".join(test.notes)
    except Skip as skipped:
        verdict, reason = "skip", str(skipped)
    except Failure as failure:
        traceback.print_exc()
        reason = str(failure)
    except BaseException as error:  # a broken test is a failed test, with its traceback in the log
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    sys.stdout.flush()
    sys.stderr.flush()
    processes.end_descendants(os.getpid())
    test.close()
    (directory / "verdict").write_text(f"{verdict}\n{reason}")
    return 0


def end(job: Job) -> None:
    """Kills the test's process and whatever it started, sessions of daemons included."""
    try:
        os.kill(job.pid, signal.SIGSTOP)  # it must not vanish before its descendants
    except ProcessLookupError:
        pass
    processes.end_descendants(job.pid)
    for kill in (os.killpg, os.kill):
        try:
            kill(job.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        os.waitpid(job.pid, 0)
    except ChildProcessError:
        pass


def collect(job: Job, build: Path, timed_out: bool) -> tuple[str, str]:
    if timed_out:
        end(job)
        scratch = directory_of(job, build) / "scratch"
        if scratch.exists():
            shutil.rmtree(scratch.read_text(), ignore_errors=True)
        return "FAIL", f"killed after {PATIENCE * job.declared.timeout:g} s"
    try:
        verdict, _, reason = (directory_of(job, build) / "verdict").read_text().partition("\n")
    except OSError:
        return "FAIL", "the test's process died"
    return verdict, " ".join(reason.split())
