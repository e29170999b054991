# SPDX-License-Identifier: Apache-2.0
"""Asking a process for a report, and waiting for it."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import processes
from .framework import PATIENCE, Failure, Test, wait_until
from .report_check import Expected, check_report
from .report_schema import expanded, faults_of

ANY_TIME_SECONDS = 20.0


@dataclass(frozen=True)
class Report:
    json_path: Path
    data: dict[str, Any]  # each stack with its frames, not with their indices
    text: str


def report_files(directory: Path) -> list[Path]:
    """All JSON reports of a directory, oldest number first."""
    return sorted(directory.glob("*.json"))


def reports_of(directory: Path, pid: int) -> list[Path]:
    """Reports that this process wrote, by the pid in the default pattern of the tests."""
    return [path for path in report_files(directory) if f".{pid}." in path.name]


def load(path: Path) -> Report | None:
    """The report, or None while it is still being written."""
    try:
        data = json.loads(path.read_bytes().decode("utf-8"))
        text = path.with_suffix(".txt").read_bytes().decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return None
    if not text:
        return None
    if faults := faults_of(data):
        raise Failure(f"{path} departs from docs/report.schema.json: " + "; ".join(faults))
    return Report(path, expanded(data), text)


def wait_for_handler(pid: int, signal_number: int, seconds: float = 20) -> None:
    """Until the process catches the signal; sent earlier it would end it."""
    wait_until(lambda: processes.catches(pid, signal_number), seconds,
               f"process {pid} ({processes.executable_of(pid) or 'gone'}) to catch signal {signal_number}")


def ask(pid: int, directory: Path, signal_number: int = signal.SIGUSR2,
        seconds: float = ANY_TIME_SECONDS) -> tuple[Report, tuple[int, int]]:
    """Sends the signal, waits for the new report. Also gives the RSS before it and after: a program whose threads
    are still starting has grown meanwhile."""
    wait_for_handler(pid, signal_number)
    before = set(reports_of(directory, pid))
    rss = processes.rss_bytes(pid)
    os.kill(pid, signal_number)
    report = wait_for_new(pid, directory, before, seconds)
    return report, (rss, processes.rss_bytes(pid))


def wait_for_new(pid: int, directory: Path, before: set[Path], seconds: float = ANY_TIME_SECONDS) -> Report:
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        fresh = [path for path in reports_of(directory, pid) if path not in before]
        for path in fresh:
            if (report := load(path)) is not None:
                time.sleep(0.02)  # the text may be the second file of the two
                return load(path) or report
        if time.monotonic() > deadline:
            state = processes.state_of(pid)
            alive = f"is alive (state {state})" if state not in ("", "Z") else "has ended"
            unfinished = f"; unfinished files: {[path.name for path in fresh]}" if fresh else ""
            raise Failure(f"no report of pid {pid} within {seconds:g} s; the process {alive}{unfinished}")
        time.sleep(0.01)


def ask_and_check(t: Test, process: subprocess.Popen[bytes] | int, signal_number: int = signal.SIGUSR2,
                  directory: Path | None = None, min_sites: int = 1) -> Report:
    """The whole step of a program test: signal, report, valid JSON and text, right backend."""
    pid = process if isinstance(process, int) else process.pid
    report, rss = ask(pid, directory or t.dir, signal_number)
    check_report(report.data, report.text, Expected(
        pid=pid, backend=t.backend, executable=processes.executable_of(pid), rss_span=rss,
        min_sites=min_sites))
    check_files(report.json_path)
    return report


def check_written(t: Test, path: Path, pid: int | None = None, min_sites: int = 0) -> Report:
    """A report that is already there, of a process that may have ended."""
    report = load(path)
    if report is None:
        raise Failure(f"{path} or its text is missing, empty or no JSON")
    check_report(report.data, report.text, Expected(pid=pid, backend=t.backend, min_sites=min_sites))
    check_files(path)
    return report


def check_files(json_path: Path) -> None:
    for path in (json_path, json_path.with_suffix(".txt")):
        mode = path.stat().st_mode & 0o7777
        if path.is_symlink() or mode != 0o600:
            raise Failure(f"{path.name} has mode {mode:04o} instead of 0600")
