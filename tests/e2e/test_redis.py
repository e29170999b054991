# SPDX-License-Identifier: Apache-2.0
"""redis-server under a seeded data set and redis-benchmark."""
from __future__ import annotations

import random
import socket
import subprocess
from pathlib import Path

import pytest

from support.framework import Test, wait_until
from support.marks import backends, every_backend
from support.processes import listens
from support.reports import ask_and_check

KEYS = 12_000
SERVER_OPTIONS = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no",
                  "--enable-debug-command", "yes", "--activedefrag", "no"]


class Client:
    """As much of the redis protocol as the test needs."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")

    def send(self, *words: str) -> None:
        parts = [f"*{len(words)}\r\n"] + [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self.socket.sendall("".join(parts).encode())

    def answer(self) -> str:
        line = self.stream.readline().decode().rstrip("\r\n")
        if line.startswith("-"):
            raise AssertionError(f"redis answers {line}")
        if line.startswith("$"):
            length = int(line[1:])
            return "" if length < 0 else self.stream.read(length + 2)[:-2].decode()
        return line[1:]

    def ask(self, *words: str) -> str:
        self.send(*words)
        return self.answer()


def fill(client: Client) -> None:
    """Strings, hashes, lists and sorted sets, the same ones in every run."""
    seeded = random.Random(20260)
    pending = 0
    for number in range(KEYS):
        size = seeded.choice([8, 40, 200, 1500, 9000])
        value = "%x" % seeded.getrandbits(64) * (size // 16 + 1)
        kind = number % 4
        if kind == 0:
            client.send("SET", f"s:{number}", value)
        elif kind == 1:
            client.send("HSET", f"h:{number % 600}", f"field{number}", value[:300])
        elif kind == 2:
            client.send("RPUSH", f"l:{number % 300}", value[:100])
        else:
            client.send("ZADD", f"z:{number % 100}", str(seeded.randrange(10**6)), f"m{number}")
        pending += 1
        if pending == 200 or number == KEYS - 1:
            for _ in range(pending):
                client.answer()
            pending = 0
    for number in range(0, KEYS, 12):  # and some holes
        client.ask("DEL", f"s:{number}")


def serve(t: Test, env: dict[str, str], label: str) -> tuple[subprocess.Popen[bytes], Path, Client]:
    path = t.tmp / f"{label}.sock"
    server = t.start([t.program("redis-server"), *SERVER_OPTIONS, "--unixsocket", path, "--dir", t.tmp],
                     env, label=label)
    wait_until(lambda: listens(path) or server.poll() is not None, 20, "the socket of redis-server")
    t.check(server.poll() is None, f"redis-server did not start: {t.output_of(server)[-300:]}"
                                   f"{t.output_of(server, 'stderr')[-300:]}")
    return server, path, Client(path)


def plain_digest(t: Test) -> str:
    server, _, client = serve(t, t.plain_env(), "plain")
    fill(client)
    digest = client.ask("DEBUG", "DIGEST")
    client.send("SHUTDOWN", "NOSAVE")
    t.finish(server)
    return digest


@every_backend
@pytest.mark.timeout(90)
def test_redis(t: Test) -> None:
    serve_and_check(t, ALLOC_SAMPLE_BYTES="65536")


@backends("system", "jemalloc")
@pytest.mark.timeout(120)
def test_exact_program_redis(t: Test) -> None:
    serve_and_check(t, ALLOC_MODE="exact")


def serve_and_check(t: Test, **environment: str) -> None:
    expected = t.baseline("redis", lambda: plain_digest(t))
    benchmark = t.program("redis-benchmark")
    server, path, client = serve(t, t.preload_env(**environment), "server")
    fill(client)
    t.equal(client.ask("DEBUG", "DIGEST"), expected, "DEBUG DIGEST of the seeded data")

    load = t.start([benchmark, "-s", path, "--dbnum", "9", "-t", "set,get,lpush,lpop,sadd,zadd", "-n",
                    "60000", "-P", "16", "-c", "20", "-r", "5000", "-d", "200", "-q"],
                   t.plain_env(), label="benchmark")
    report = ask_and_check(t, server, min_sites=3)
    t.finish(load)
    used = int(client.ask("INFO", "memory").split("used_memory:")[1].split()[0])
    again = ask_and_check(t, server, min_sites=3)
    t.check(again.json_path != report.json_path, "the second signal did not give a second report")
    # redis counts usable sizes of its own blocks; the report counts requests of the whole process.
    live = again.data["totals"]["live_bytes"]
    t.check(0.6 * used < live < 1.3 * used, f"live_bytes is {live}, redis counts {used}")

    client.ask("SELECT", "9")
    t.check(int(client.ask("DBSIZE")) > 0, "redis-benchmark left no keys")
    client.ask("FLUSHDB")
    t.equal(client.ask("DEBUG", "DIGEST"), expected, "DEBUG DIGEST after the benchmark")
    client.send("SHUTDOWN", "NOSAVE")
    t.finish(server)
