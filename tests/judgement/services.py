# SPDX-License-Identifier: Apache-2.0
"""Real services as programs of the corpus: each does a step of work when it is told to, and says when it is done."""
from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from support.framework import Failure, Test, wait_until
from support.processes import catches, listens
from support.report_schema import expanded

HEALTHY = {"state": "healthy", "causes": "", "leaf": "", "may": ""}
# What an interpreter keeps of its own is for it to know: its free lists and arenas are neither asked for nor false.
INTERPRETER = "external_fragmentation joint_pinning retention second_allocator thread_caches"


@dataclass(frozen=True)
class Step:
    """A report and what is true at it."""
    truth: dict[str, Any]
    report: dict[str, Any]


@dataclass(frozen=True)
class Service:
    kind: str
    reports: int
    drive: Callable[[Test, Path, dict[str, str], int], Iterator[tuple[int, dict[str, Any]]]]

    def run(self, t: Test, mode: str, reports: int, folder: Path) -> Iterator[Step]:
        env = t.preload_env(ALLOC_REPORT=f"{folder}/report.%n", ALLOC_MODE=mode, PYTHONMALLOC="malloc")
        for number, (pid, truth) in enumerate(self.drive(t, folder, env, reports), 1):
            with open(folder / "truth.jsonl", "a") as truths:
                truths.write(json.dumps(truth) + "\n")
            yield Step(truth, ask(pid, folder, number))


def ask(pid: int, folder: Path, number: int) -> dict[str, Any]:
    """The report that a signal asks for."""
    wait_until(lambda: catches(pid, signal.SIGUSR2), 20, "the handler of the signal")
    path = folder / f"report.{number:04d}.json"
    subprocess.run(["kill", "-USR2", str(pid)], check=True)
    return expanded(wait_until(lambda: written(path), 20, path.name, 0.003))


def written(path: Path) -> dict[str, Any] | None:
    """The report, or None while it is still being written."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


# ---- redis
class Redis:
    """redis-server at a socket, and commands by the hundred."""

    def __init__(self, t: Test, folder: Path, env: dict[str, str], *options: str) -> None:
        path = t.tmp / "redis.sock"
        self.process = subprocess.Popen(
            [t.program("redis-server"), "--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", str(path),
             "--dir", str(t.tmp), *options], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(folder / "stderr", "wb"))
        wait_until(lambda: listens(path) or self.process.poll() is not None, 20, "the socket of redis-server")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")

    def ask(self, commands: list[tuple[str, ...]]) -> None:
        for begin in range(0, len(commands), 500):
            part = commands[begin:begin + 500]
            self.socket.sendall("".join(
                f"*{len(c)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in c) for c in part).encode())
            for _ in part:
                answer = self.stream.readline()
                if answer.startswith(b"$") and (size := int(answer[1:])) >= 0:
                    self.stream.read(size + 2)
                elif answer.startswith(b"-"):
                    raise Failure(f"redis answers {answer!r}")

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()


def load_keys(redis: Redis, begin: int, end: int, size: int = 250) -> None:
    redis.ask([("SET", f"key:{n}", "v" * (size + n % 60)) for n in range(begin, end)])


def redis_loaded_and_idle(t: Test, folder: Path, env: dict[str, str], reports: int) -> Iterator[tuple[int, dict]]:
    redis = Redis(t, folder, env)
    try:
        load_keys(redis, 0, 150_000)
        for _ in range(reports):
            yield redis.process.pid, HEALTHY
    finally:
        redis.close()


def redis_at_steady_load(t: Test, folder: Path, env: dict[str, str], reports: int) -> Iterator[tuple[int, dict]]:
    redis = Redis(t, folder, env)
    try:
        load_keys(redis, 0, 150_000)
        for step in range(reports):
            yield redis.process.pid, HEALTHY
            redis.ask([("SET" if n % 4 == 0 else "GET", f"key:{(n * 7919 + step * 31) % 150_000}",
                        *(["v" * (250 + n % 60)] if n % 4 == 0 else [])) for n in range(20_000)])
    finally:
        redis.close()


def redis_as_a_full_cache(t: Test, folder: Path, env: dict[str, str], reports: int) -> Iterator[tuple[int, dict]]:
    """Keys come without end; the server evicts the least recently used."""
    redis = Redis(t, folder, env, "--maxmemory", "48mb", "--maxmemory-policy", "allkeys-lru")
    try:
        load_keys(redis, 0, 200_000)
        for step in range(reports):
            yield redis.process.pid, HEALTHY
            load_keys(redis, 200_000 + step * 15_000, 215_000 + step * 15_000)
    finally:
        redis.close()


def redis_without_expiry(t: Test, folder: Path, env: dict[str, str], reports: int) -> Iterator[tuple[int, dict]]:
    """Keys that nobody deletes: 6 MiB more with each step."""
    redis = Redis(t, folder, env)
    try:
        load_keys(redis, 0, 60_000)
        for step in range(reports):
            told = step >= 4
            yield redis.process.pid, HEALTHY | ({"state": "sick", "causes": "leak"} if told else
                                                {"state": "undecided", "may": "leak"})
            load_keys(redis, 60_000 + step * 20_000, 80_000 + step * 20_000)
    finally:
        redis.close()


# ---- interpreters: a step for each line
def interpreter(argv: list[str], truth_of: Callable[[int], dict[str, Any]]) -> Callable:
    def drive(t: Test, folder: Path, env: dict[str, str], reports: int) -> Iterator[tuple[int, dict]]:
        command = [t.program(argv[0], folders=("/usr/bin",)), *argv[1:]]
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=open(folder / "stderr", "wb"))
        assert process.stdin is not None and process.stdout is not None
        try:
            for step in range(reports):
                if b"done" not in process.stdout.readline():
                    raise Failure(f"{argv[0]} ended: {(folder / 'stderr').read_text()[-300:]}")
                yield process.pid, truth_of(step)
                try:
                    process.stdin.write(b"go\n")
                    process.stdin.flush()
                except BrokenPipeError:
                    raise Failure(f"{argv[0]} ended ({process.wait()}): {(folder / 'stderr').read_text()[-300:]}") from None
        finally:
            process.kill()
            process.wait()
    return drive


def steady_interpreter(step: int) -> dict[str, Any]:
    return HEALTHY | {"may": INTERPRETER}


def leaking_interpreter(step: int) -> dict[str, Any]:
    if step < 4:
        return HEALTHY | {"state": "undecided", "may": "leak " + INTERPRETER}
    return HEALTHY | {"state": "sick", "causes": "leak", "may": INTERPRETER}


def managed_heap(step: int) -> dict[str, Any]:
    return HEALTHY | {"causes": "runtime_heap", "may": INTERPRETER}


PYTHON_CACHE = """
import collections, sys
cache = collections.OrderedDict()
def request(n):
    cache[n] = {"id": n, "body": "x" * (200 + n % 300)}
    if len(cache) > 60000: cache.popitem(last=False)
n = 0
for n in range(70000): request(n)
while True:
    print("done", flush=True)
    if not sys.stdin.readline(): break
    for n in range(n, n + 20000): request(n)
"""
PYTHON_LEAK = """
import sys
kept = []
def request(n):
    kept.append({"id": n, "body": "x" * (200 + n % 300)})
for n in range(40000): request(n)
while True:
    print("done", flush=True)
    if not sys.stdin.readline(): break
    for n in range(12000): request(n)
"""
NODE_STEADY = """
const cache = new Map(); let n = 0;
function request() { cache.set(n, Buffer.alloc(9000, 1)); cache.delete(n - 4000); n++; }
for (let i = 0; i < 5000; i++) request();
console.log('done');
process.stdin.on('data', () => { for (let i = 0; i < 2000; i++) request(); console.log('done'); });
"""
NODE_HEAP = """
const kept = [];
for (let i = 0; i < 600000; i++) kept.push({ id: i, next: { id: i + 1 } });
console.log('done');
process.stdin.on('data', () => { for (let i = 0; i < 600000; i++) kept[i].next = { id: i }; console.log('done'); });
"""
SQLITE_STEADY = """
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.execute("create table t (k integer primary key, v blob)")
db.executemany("insert into t values (?, ?)", ((k, b"x" * (300 + k % 400)) for k in range(100000)))
while True:
    print("done", flush=True)
    if not sys.stdin.readline(): break
    for k in range(0, 100000, 7):
        db.execute("update t set v = ? where k = ?", (b"y" * (300 + k % 400), k)).fetchall()
    db.execute("select k, length(v) from t order by v limit 1000").fetchall()
"""

SERVICES = {
    "redis_loaded_and_idle": Service("healthy", 21, redis_loaded_and_idle),
    "redis_at_steady_load": Service("healthy", 12, redis_at_steady_load),
    "redis_as_a_full_cache": Service("healthy", 12, redis_as_a_full_cache),
    "redis_without_expiry": Service("sick", 10, redis_without_expiry),
    "python_cache": Service("healthy", 10, interpreter(["python3", "-c", PYTHON_CACHE], steady_interpreter)),
    "python_leak": Service("sick", 10, interpreter(["python3", "-c", PYTHON_LEAK], leaking_interpreter)),
    "python_with_sqlite": Service("healthy", 10, interpreter(["python3", "-c", SQLITE_STEADY], steady_interpreter)),
    "node_with_a_large_heap": Service("healthy", 8, interpreter(["node", "-e", NODE_HEAP], managed_heap)),
    "node_steady": Service("healthy", 10, interpreter(["node", "-e", NODE_STEADY], steady_interpreter)),
}
