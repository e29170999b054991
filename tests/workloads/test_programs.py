# SPDX-License-Identifier: Apache-2.0
"""Real programs: the ledger closes under every backend, whatever they do."""
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from e2e.test_redis import Client
from e2e.test_redis import serve as serve_redis
from e2e.test_slapd import OWN_SIGNAL, ldif, search, write_config
from e2e.test_slapd import serve as serve_slapd
from support.framework import Test, wait_until
from support.marks import backends
from support.processes import waits_for_input
from support.reports import ask, wait_for_handler

from .judge import REAL_UNEXPLAINED_SHARE, bytes_of, close_complaints, unexplained_share
from .workloads import BACKENDS

REDIS_KEYS = 120_000


def check_report(t: Test, process: subprocess.Popen[bytes], number: int = signal.SIGUSR2) -> dict:
    report = ask(process.pid, t.dir, number)[0].data
    wrong = close_complaints(report, REAL_UNEXPLAINED_SHARE)
    parts = ", ".join(f"{line['cause']} {line['bytes'] / 1e6:.1f}" for line in report["ledger"] if line["bytes"] >= 1e5)
    t.notes.append(f"unexplained {100 * unexplained_share(report):.3f} %, verdict {report['verdict']['cause']} "
                   f"({parts} MB)")
    t.check(not wrong, "; ".join(wrong))
    return report


def pipeline(client: Client, commands: list[tuple[str, ...]]) -> None:
    for start in range(0, len(commands), 500):
        part = commands[start:start + 500]
        for words in part:
            client.send(*words)
        for _ in part:
            client.answer()


@backends(*BACKENDS)
@pytest.mark.timeout(120)
def test_redis(t: Test) -> None:
    """Many keys of mixed sizes, four of five deleted at random."""
    seeded = random.Random(4711)
    server, _, client = serve_redis(t, t.preload_env(), "redis")
    names = [f"key:{number}" for number in range(REDIS_KEYS)]
    pipeline(client, [("SET", name, "x" * seeded.choice([10, 60, 200, 700, 3000])) for name in names])
    seeded.shuffle(names)
    pipeline(client, [("DEL", name) for name in names[:REDIS_KEYS * 4 // 5]])
    report = check_report(t, server)
    holes, retained = bytes_of(report, "holes", "")[0], bytes_of(report, "retained", "")[0]
    t.check(holes + retained > 0.2 * report["rss"]["total_bytes"],
            f"holes {holes} and retained {retained} are too little for four deleted keys of five")
    client.send("SHUTDOWN", "NOSAVE")
    t.finish(server)


@backends(*BACKENDS)
@pytest.mark.timeout(120)
def test_slapd(t: Test) -> None:
    """20,000 entries, all read through the map of its database."""
    folder = t.tmp / "own"
    config = write_config(t, folder)
    people = t.baseline("slapd-ldif", lambda: str(ldif(t)))
    t.run([t.program("slapadd"), "-q", "-f", config, "-l", people], t.plain_env())
    server, url = serve_slapd(t, folder, config, t.preload_env(ALLOC_SIGNAL=str(OWN_SIGNAL)), "slapd")
    search(t, url, "(description=*needle*)")
    report = check_report(t, server, OWN_SIGNAL)
    t.check(bytes_of(report, "files", "data.mdb")[0] > 4 << 20, "the map of data.mdb is missing")
    server.send_signal(signal.SIGTERM)
    t.finish(server)


@backends(*BACKENDS)
@pytest.mark.timeout(90)
def test_mdb_load(t: Test) -> None:
    """LMDB's own bulk loader, asked in the middle of it."""
    records = t.tmp / "records"
    with records.open("w") as file:
        file.write("VERSION=3\nformat=print\ntype=btree\nmapsize=1073741824\nHEADER=END\n")
        file.writelines(f" key{number:09d}\n {'v' * (100 + number % 700)}\n" for number in range(200_000))
        file.flush()
        (t.tmp / "db").mkdir()
        # Its input is a pipe that stays open until the report is there.
        loader = t.start([t.program("mdb_load"), t.tmp / "db"], stdin=subprocess.PIPE, label="mdb_load")
        assert loader.stdin
        with records.open("rb") as ready:
            while part := ready.read(1 << 20):
                loader.stdin.write(part)
        loader.stdin.flush()
    wait_for_handler(loader.pid, signal.SIGUSR2)
    wait_until(lambda: waits_for_input(loader.pid, loader.stdin.fileno()), 60, "mdb_load to store all that it was given")
    check_report(t, loader)
    loader.stdin.write(b"DATA=END\n")
    loader.stdin.close()
    t.finish(loader)


PYTHON = """
import json, random, sys
seeded = random.Random(1)
kept = [json.loads(json.dumps({"n": i, "text": "x" * seeded.randrange(2000), "list": list(range(i % 50))}))
        for i in range(40000)]
kept = [item for item in kept if seeded.random() < 0.2]
print("ready", flush=True)
sys.stdin.read()
"""


@backends(*BACKENDS)
@pytest.mark.timeout(90)
def test_python3(t: Test) -> None:
    interpreter = os.path.realpath(sys.executable)
    process = t.start([interpreter, "-c", PYTHON], t.preload_env(PYTHONMALLOC="malloc"), stdin=subprocess.PIPE,
                      label="python3")
    wait_until(lambda: "ready" in t.output_of(process), 60, "python3")
    check_report(t, process)
    assert process.stdin
    process.stdin.close()
    t.finish(process)
