# SPDX-License-Identifier: Apache-2.0
"""scripts/soak: hosts of several kinds run for minutes or hours, and are asked for everything meanwhile.

Each round takes a report of every host, from outside and by its signal in turns, which has to be valid and to close; in
turns its mode is switched, its allocator purged, and it is inspected. Hosts that were started without mallard are attached
to, and detached from every third round. Held against the first third of the time: mallard's own memory, and descriptors.
At the end the host in C frees all it has, and the books have to say so.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from programs.program import program_path
from support import processes
from support.backends import matrix
from support.framework import REPOSITORY, Test, wait_until
from support.processes import listens
from support.report_check import ledger_faults
from support.report_schema import faults_of

DOCUMENT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- made by scripts/soak --write -->\n", "<!-- end of soak -->\n"
MIB = 2**20
OWN_SLACK = 2 * MIB         # mallard's own memory may grow by this and a tenth: a report's arena, call sites of rare paths
DESCRIPTOR_SLACK = 1
LIVE_SLACK = 512 * 1024     # of libc and the loader, once the host has freed all that it had
PYTHON = """
import collections, time
cache, n = collections.OrderedDict(), 0
while True:
    for n in range(n, n + 400):
        cache[n] = {"id": n, "body": "x" * (200 + n % 300)}
        if len(cache) > 20000: cache.popitem(last=False)
    n += 1
    time.sleep(0.02)
"""
NODE = "const c = new Map(); let n = 0; setInterval(() => { for (let i = 0; i < 60; i++, n++) { c.set(n, Buffer.alloc(3000, 1)); c.delete(n - 3000); } }, 20);"


@dataclass
class Host:
    """One row of the table."""
    name: str
    backend: str
    mode: str
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    own: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    is_attached: bool = False   # started without mallard
    unexplained: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("reports", "switches", "purges", "looks"), 0))
    wrong: list[str] = field(default_factory=list)
    end: str = ""
    load: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def hosts() -> list[Host]:
    return [Host("threads", "system", "sample"), Host("threads", "jemalloc", "exact"), Host("threads", "mimalloc2", "sample"),
            Host("redis", "jemalloc", "sample"), Host("python", "tcmalloc", "exact", {"PYTHONMALLOC": "malloc"}),
            Host("python", "system", "sample", {"PYTHONMALLOC": "malloc", "ALLOC_INTERVAL": "20"}), Host("node", "mimalloc3", "sample"),
            Host("threads", "system", "sample", is_attached=True), Host("redis", "system", "exact", is_attached=True)]


class Soak:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.build: Path = options.build.resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="mallard-soak-"))
        self.backends = {backend.name: backend for backend in matrix(self.build)}
        self.mallard = Path(shutil.copy2(self.build / "mallard", self.folder))
        self.library = Path(shutil.copy2(self.build / "libmallard.so", self.folder))
        shutil.copy2(self.build / "libmallard-attach.so", self.folder)
        if (self.build / "backends").is_dir():
            shutil.copytree(self.build / "backends", self.folder / "backends", symlinks=True, ignore=shutil.ignore_patterns("*.a", "*.p", "*.o"))
        subprocess.run(["cc", "-O1", "-pthread", "-o", self.folder / "host", REPOSITORY / "tests" / "soak" / "host.c"], check=True)

    # -- starting and ending
    def start(self, host: Host, number: int) -> str:
        """\\return why it cannot be run here, '' if it runs"""
        backend = self.backends[host.backend]
        if backend.missing:
            return backend.missing
        place = self.folder / f"{number}.{host.name}"
        place.mkdir()
        test = Test(backend, self.build, place, place)
        shutil.rmtree(test.tmp)
        env = test.plain_env(**host.variables) if host.is_attached else test.plain_env(LD_PRELOAD=str(self.library), ALLOC_BACKEND=backend.value, ALLOC_MODE=host.mode, ALLOC_CONTROL="1",
                             ALLOC_REPORT=f"{place}/r.%n", **host.variables)
        socket = place / "redis.sock"
        argv: Sequence[str | Path] = {
            "threads": [self.folder / "host"], "python": ["/usr/bin/python3", "-c", PYTHON], "node": ["node", "-e", NODE],
            "redis": ["redis-server", "--port", "0", "--save", "", "--unixsocket", socket, "--dir", place]}[host.name]
        program = program_path(argv[0])
        if not Path(program).exists():
            return f"{argv[0]} is not installed"
        host.process = subprocess.Popen([program, *argv[1:]], env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=open(place / "stdout", "wb"),
                                        stderr=open(place / "stderr", "wb"))
        if host.name == "redis":
            wait_until(lambda: listens(socket), 20, "redis' socket")
            host.load = subprocess.Popen(["redis-benchmark", "-s", socket, "-q", "-l", "-n", "2000", "-c", "5", "-d", "300", "-r", "20000", "--rps", "800",
                                          "-t", "set,get,lpush,lpop,hset"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return ""

    def end(self, host: Host) -> None:
        if host.load:
            host.load.kill()
            host.load.wait()
        assert host.process is not None
        if host.process.poll() is None and host.name == "threads":
            self.rest(host)
        if host.process.poll() is None:
            host.process.send_signal(signal.SIGTERM)
        try:
            status = host.process.wait(60)
        except subprocess.TimeoutExpired:
            host.process.kill()
            status = host.process.wait()
            host.wrong.append("it did not end within 60 s")
        if status not in ((0,) if host.name in ("threads", "redis") else (0, -signal.SIGTERM)):
            host.wrong.append(f"it ended with status {status}")

    def rest(self, host: Host) -> None:
        """All blocks are freed; the books have to say so."""
        assert host.process is not None
        host.process.send_signal(signal.SIGUSR1)
        out = Path(os.readlink(f"/proc/{host.pid}/fd/1"))
        wait_until(lambda: "rests" in out.read_text(), 20, "the host to rest")
        data = self.report(host)
        live = data["totals"]["live_bytes"] if data else -1
        host.end = f"{live / 1024:.0f} KiB live"
        if not data or live > LIVE_SLACK:
            host.wrong.append(f"all blocks are freed, and {live} bytes are said to be live")

    # -- asking
    def ask(self, host: Host, *words: str) -> str | None:
        done = subprocess.run([self.mallard, *words], capture_output=True, text=True, errors="replace")
        if done.returncode == 0:
            return done.stdout
        host.wrong.append(f"mallard {words[0]}: status {done.returncode}: {' '.join(done.stderr.split())[-160:]}")
        return None

    def report(self, host: Host) -> dict[str, Any] | None:
        by_signal = ["--by-signal"] if host.counts["reports"] % 2 and not host.is_attached else []
        text = self.ask(host, "dump", "--json", *by_signal, "--timeout", "60", str(host.pid))
        if text is None:
            return None
        data = json.loads(text)
        host.counts["reports"] += 1
        failed = [check["name"] for check in data["checks"] if check["state"] == "failed"]
        if wrong := [*faults_of(data, 3), *ledger_faults(data), *(f"its check of {name} failed" for name in failed)]:
            host.wrong.append("report: " + "; ".join(wrong[:3]))
        host.unexplained = max(host.unexplained, 100 * abs(data["unexplained_bytes"]) / max(1, data["ledger_about"]["rss_bytes"]))
        return data

    def round(self, host: Host, number: int) -> None:
        if host.process is None or host.process.poll() is not None:
            return
        if host.is_attached and number % 3 == 0:
            if number > 0:
                self.ask(host, "detach", str(host.pid))
            if self.ask(host, "attach", "--mode", host.mode, str(host.pid)) is not None:
                host.counts["switches"] += 1
        data = self.report(host)
        if data:
            if host.is_attached or data["reason"] != "dump":  # a report from outside has no arena in the process
                host.own.append(data["recording"]["own_bytes"])
            host.descriptors.append(len(os.listdir(f"/proc/{host.pid}/fd")))
        other = "exact" if host.mode == "sample" else "sample"
        if number % 3 == 1 and not host.is_attached:
            for mode in (("off", host.mode), (other, host.mode))[number // 3 % 2]:
                if self.ask(host, "mode", "--timeout", "60", str(host.pid), mode) is not None:
                    host.counts["switches"] += 1
        if number % 4 == 2 and not host.is_attached and self.ask(host, "purge", "--timeout", "60", str(host.pid)) is not None:
            host.counts["purges"] += 1
        if number % 5 == 3 and self.ask(host, "inspect", "--json", str(host.pid)) is not None:
            host.counts["looks"] += 1
        for old in host_reports(self.folder):
            old.unlink(missing_ok=True)

    def run(self) -> list[Host]:
        running, until = [], time.monotonic() + 60 * self.options.minutes
        for number, host in enumerate(hosts()):
            if why := self.start(host, number):
                print(f"soak: {host.name}, {host.backend}: not run: {why}", flush=True)
            else:
                running.append(host)
        time.sleep(2)
        number = 0
        while time.monotonic() < until:
            began = time.monotonic()
            for host in running:
                self.round(host, number)
            number += 1
            if number % 10 == 0:
                print(f"soak: round {number}, {sum(len(h.wrong) for h in running)} wrong", flush=True)
            time.sleep(max(0.0, min(self.options.pause - (time.monotonic() - began), until - time.monotonic())))
        for host in running:
            if host.process and host.process.poll() is not None:
                host.wrong.append(f"it ended by itself with status {host.process.returncode}")
            self.end(host)
            judge_growth(host)
        return running


def host_reports(folder: Path) -> list[Path]:
    """But the last ones, which may be read just now."""
    return [path for place in folder.iterdir() if place.is_dir() for path in sorted(place.glob("r.*"))[:-4]]


def thirds(values: list[int]) -> tuple[int, int]:
    """The most of the first third, and the least of the last one."""
    third = max(1, len(values) // 3)
    return (max(values[:third]), min(values[-third:])) if values else (0, 0)


def judge_growth(host: Host) -> None:
    before, after = thirds(host.own)
    if after > before * 1.1 + OWN_SLACK:
        host.wrong.append(f"mallard's own memory grew from {before} to {after} bytes")
    before, after = thirds(host.descriptors)
    if after > before + DESCRIPTOR_SLACK:
        host.wrong.append(f"descriptors grew from {before} to {after}")


def table(rows: list[Host]) -> str:
    lines = ["| host | backend, mode | reports | switches | purges | looks from outside | own memory | descriptors | most unexplained | at the end | wrong |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for h in rows:
        own, descriptors = thirds(h.own), thirds(h.descriptors)
        lines.append(f"| {h.name} | {'attached' if h.is_attached else h.backend}, {h.mode} | {h.counts['reports']} | {h.counts['switches']} | {h.counts['purges']} | {h.counts['looks']} | "
                     f"{own[0] / MIB:.1f} to {own[1] / MIB:.1f} MiB | {descriptors[0]} to {descriptors[1]} | {h.unexplained:.2f} % | {h.end} | "
                     f"{'; '.join(list(dict.fromkeys(h.wrong))[:3]) or 'nothing'} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", metavar="DIR")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument("--hours", type=float, default=0, metavar="N", help="instead of minutes")
    parser.add_argument("--pause", type=float, default=8, metavar="SECONDS", help="from one round to the next (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/reliability.md")
    options = parser.parse_args(arguments)
    options.minutes = 60 * options.hours or options.minutes
    if not (options.build / "libmallard.so").exists():
        print(f"soak: error: no {options.build / 'libmallard.so'}", file=sys.stderr)
        return 3
    processes.become_subreaper()
    soak = Soak(options)
    try:
        rows = soak.run()
    finally:
        processes.end_descendants(os.getpid())
        shutil.rmtree(soak.folder, ignore_errors=True)
    print(table(rows))
    wrong = sum(len(row.wrong) for row in rows)
    print(f"{len(rows)} hosts, {options.minutes:g} min, {wrong} wrong")
    if options.write:
        text = DOCUMENT.read_text()
        told = f"{options.minutes:g} minutes on {date.today():%-d %B %Y}, a round each {options.pause:g} s or as long as one takes.\n\n"
        DOCUMENT.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: BEGIN + told + table(rows) + "\n" + END, text, flags=re.S))
    return 1 if wrong or not rows else 0
