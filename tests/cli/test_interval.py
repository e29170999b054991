# SPDX-License-Identifier: Apache-2.0
"""ALLOC_INTERVAL: the reports come by themselves, and the program sleeps on."""
from __future__ import annotations

import time
from pathlib import Path

from .control import library
from .harness import Failure, Test
from .waits import KINDS
from .waits import SOURCE as WAITS


def reports_of(folder: Path, pid: int) -> list[Path]:
    return sorted(folder.glob(f"*.{pid}.*.json"))


def test_no_wait_ends_early(t: Test) -> None:
    program = t.compile("waits", "-pthread", source=WAITS)
    env = {"LD_PRELOAD": library(t), "ALLOC_INTERVAL": "400ms", "ALLOC_REPORT": str(t.dir / "report.%p.%n")}
    processes = {kind: t.start(program, kind, env=env) for kind in KINDS}
    plain = {kind: t.start(program, kind) for kind in KINDS}
    said = {kind: process.communicate()[0].decode() for kind, process in processes.items()}
    expected = {kind: process.communicate()[0].decode() for kind, process in plain.items()}
    if said != expected or any("EARLY" in words for words in said.values()):
        raise Failure("; ".join(f"{k}: {said[k]!r}, bare {expected[k]!r}" for k in KINDS if said[k] != expected[k]))
    if none := [kind for kind, process in processes.items() if not reports_of(t.dir, process.pid)]:
        raise Failure(f"no report of those that waited in {none}")


def test_without_a_signal(t: Test) -> None:
    env = {"LD_PRELOAD": library(t), "ALLOC_INTERVAL": "200ms", "ALLOC_SIGNAL": "none",
           "ALLOC_REPORT": str(t.dir / "report.%p.%n")}
    program = t.start("/bin/sh", "-c", "echo up; exec sleep 300", env=env)
    until = time.monotonic() + 60
    while len(reports_of(t.dir, program.pid)) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    program.kill()
    program.wait()
    if len(found := reports_of(t.dir, program.pid)) < 4:
        raise Failure(f"{len(found)} reports in a minute, expected one each 200 ms")
