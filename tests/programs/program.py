# SPDX-License-Identifier: Apache-2.0
"""What a program of the matrix is, and one run of it: with mallard in it, with a bare backend, or with nothing."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import processes
from support.framework import Failure, Finished, Test, wait_until
from support.report_check import ledger_faults
from support.report_schema import faults_of

FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/games")


class Outcomes:
    """What became of the tests of a suite: how often each, by its name, came to which end."""

    def __init__(self, each: Iterable[tuple[str, str]]) -> None:
        self.each = Counter(each)  # (name, end); several tests may have one name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcomes) and self.each == other.each

    def __str__(self) -> str:
        ends = Counter(end.split(" ")[0] for _, end in self.each.elements())
        told = ", ".join(f"{ends[end]} {end}" for end in sorted(ends, key=lambda end: (end != "passed", end)))
        return "; ".join([told or "no test", *sorted(f"{end}: {name}" for name, end in self.each if end != "passed")])

    def differing(self, other: Outcomes) -> set[str]:
        """Names of tests that came to another end there, or were run in one of them alone."""
        return {name for name, _ in (self.each - other.each) + (other.each - self.each)}

    def without(self, names: set[str]) -> Outcomes:
        return Outcomes(one for one in self.each.elements() if one[0] not in names)

    def ends_of(self, name: str) -> str:
        ends = sorted((end, count) for (other, end), count in self.each.items() if other == name)
        return " and ".join(end if count == 1 else f"{count} {end}" for end, count in ends) or "not run"


@dataclass(frozen=True)
class Program:
    """One row. `run` gives the result, which has to be the same with mallard as without."""
    name: str
    what: str                                  # that is run, for the table
    packages: tuple[str, ...]                  # of Debian, as scripts/common.sh takes them
    needs: tuple[str, ...]                     # commands that have to be there
    version: tuple[str, ...]                   # the command that prints it
    run: Callable[[Run], str | Outcomes]
    excluded: dict[str, str] = field(default_factory=dict)  # backend, or backend/mode -> the reason
    report: bool = True                        # false: none of its processes lives long enough
    source: str = ""                           # names of the source package that has its tests, 'this|that' as above


@dataclass(frozen=True)
class Given:
    """A report in mid-run."""
    data: dict[str, Any]
    from_outside: bool

    @property
    def unexplained(self) -> float:
        """Per cent of the resident memory."""
        whole = self.data["ledger_about"]["rss_bytes"]
        return 100 * abs(self.data["unexplained_bytes"]) / whole if whole else 0.0


class Run:
    """One run of a program. Everything that it starts has the same environment."""

    def __init__(self, t: Test, variables: dict[str, str], mallard: Path | None, past: Sequence[float], source: Path | None = None) -> None:
        self.t = t
        self.source = source or Path()         # the source package, unpacked
        self.mallard = mallard                 # the command, where reports are asked for
        self.past = past                       # seconds that each command of the control took
        self.took: list[float] = []
        self.env = t.plain_env(**variables)
        self.reports: list[Given] = []

    @property
    def folder(self) -> Path:
        return self.t.tmp

    # -- programs that end
    def command(self, *argv: str | Path, expect: int | None = 0, watched: bool = True, first: bool = False, seconds: float = 60,
                options: dict[str, Any] | None = None, **extra: str) -> Finished:
        """Runs it to its end; in the middle, a report of its largest process is asked for, or of the `first` one where
        the others come and go. `options` are those of Popen."""
        began = time.monotonic()
        process = self.t.start([program_path(argv[0]), *argv[1:]], self.env | extra,
                               **({"cwd": self.folder, "start_new_session": True} | (options or {})))
        if self.mallard and watched and not self.reports:
            past = self.past[len(self.took)] if len(self.took) < len(self.past) else 1.0
            self._report_of_tree(process, min(3.0, max(0.1, 0.3 * past)), first)
        done = self.t.finish(process, seconds, expect)
        self.took.append(time.monotonic() - began)
        return done

    def plainly(self, *argv: str | Path, **options: Any) -> Finished:
        """A tool or a client, which is not the subject."""
        return self.t.run([program_path(argv[0]), *argv[1:]], self.t.plain_env(), cwd=self.folder, **options)

    def _report_of_tree(self, root: subprocess.Popen[bytes], seconds: float, first: bool) -> None:
        """Where the process ends before it has answered, the next attempt is for the other one."""
        time.sleep(seconds)
        for attempt in range(8):
            tree = [pid for pid in [root.pid, *processes.descendants(root.pid)]
                    if processes.state_of(pid) not in ("", "Z") and has_mallard(pid)]
            if not tree:
                if root.poll() is not None:
                    return
                time.sleep(0.05)
                continue
            one = root.pid if attempt % 2 != first and root.pid in tree else max(tree, key=processes.rss_bytes)
            if self.report_of(one, may_end=True):
                return

    # -- servers
    def server(self, *argv: str | Path, ready: Callable[[], Any], seconds: float = 40, **options: Any) -> subprocess.Popen[bytes]:
        process = self.t.start([program_path(argv[0]), *argv[1:]], self.env, cwd=options.pop("cwd", self.folder), **options)
        wait_until(lambda: process.poll() is not None or ready(), seconds, f"{Path(argv[0]).name} to be ready")
        self.t.check(process.poll() is None, f"{Path(argv[0]).name} did not start: "
                     f"{(self.t.output_of(process) + self.t.output_of(process, 'stderr'))[-400:]}")
        return process

    def stop(self, process: subprocess.Popen[bytes], number: int, expect: int | None = 0) -> None:
        process.send_signal(number)
        self.t.finish(process, 40, expect)

    # -- reports
    def report_of(self, pid: int, may_end: bool = False) -> bool:
        """Asks for a report, and holds it against what a report promises. \\return whether there was one"""
        if not self.mallard:
            return False
        done = subprocess.run([self.mallard, "dump", "--json", "--timeout", "60", str(pid)], capture_output=True,
                              text=True, env=self.t.plain_env(), errors="replace")
        if done.returncode != 0:
            if may_end and processes.state_of(pid) in ("", "Z"):
                return False
            raise Failure(f"mallard dump: status {done.returncode}: {done.stderr.strip()[-300:]}")
        data = json.loads(done.stdout)
        wrong = faults_of(data, 3) + ledger_faults(data)
        self.reports.append(Given(data, data["reason"] == "inspection"))
        if wrong:
            kept = self.t.dir / f"report.{pid}.json"
            kept.write_text(done.stdout)
            raise Failure(f"a report is wrong ({kept}): {'; '.join(wrong[:3])}")
        return True


def has_mallard(pid: int) -> bool:
    try:
        return "libmallard.so" in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return False


def digest(*paths: Path) -> str:
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def program_path(name: str | Path) -> str | Path:
    """As Debian installs it, whatever comes first on PATH."""
    return shutil.which(str(name), path=":".join([*FOLDERS, "/bin", "/sbin"])) or name


def version_of(program: Program) -> str:
    """The first number with a point in what its command prints; '' where it cannot be run."""
    try:
        done = subprocess.run([program_path(program.version[0]), *program.version[1:]], capture_output=True, text=True, errors="replace",
                              env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return found.group(0) if found else ""
