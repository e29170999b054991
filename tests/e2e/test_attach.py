# SPDX-License-Identifier: Apache-2.0
"""`mallard attach` and `detach` of servers under load, which must not notice; and the sites that it shows."""
from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.framework import Failure, Test, wait_until
from support.processes import listens
from support.marks import extra

from .test_postgres import Server
from .test_redis import SERVER_OPTIONS, Client

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# How often: a few times in CI, 50 times each with --extra: 200 in all.
TIMES = [3, pytest.param(50, marks=[extra, pytest.mark.timeout(1200)])]

NODE = """
const http = require('http'), zlib = require('zlib');
let asked = 0, bad = 0;
const server = http.createServer((q, r) => zlib.gzip(Buffer.alloc(20000, 'x'), (e, z) => { if (e) bad++; r.end(z); }));
server.listen(0, () => {
  const again = () => http.get({port: server.address().port}, (r) => {
    let bytes = 0;
    r.on('data', (d) => bytes += d.length);
    r.on('end', () => { asked++; if (bytes < 20) bad++; again(); });
  }).on('error', () => { bad++; again(); });
  for (let i = 0; i < 4; i++) again();
});
process.on('SIGTERM', () => { console.log('asked', asked, 'bad', bad); process.exit(bad ? 1 : 0); });
"""
PYTHON = """
import json, signal, threading, time
ended, asked, bad = False, 0, 0
def end(*_):
    global ended
    ended = True
signal.signal(signal.SIGTERM, end)
def work():
    global asked, bad
    while not ended:
        text = json.dumps({str(i): [i] * 50 for i in range(200)})
        bad += len(json.loads(text)) != 200
        asked += 1
        bytearray(200_000)
        time.sleep(0.001)
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
while not ended: time.sleep(0.02)
for t in threads: t.join()
print("asked", asked, "bad", bad)
raise SystemExit(bad != 0)
"""


def command(t: Test, *words: str | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([t.build / "mallard", *map(str, words)], capture_output=True, text=True, timeout=200,
                          check=False, env=t.plain_env())


def attach_and_detach(t: Test, pid: int, times: int) -> None:
    """Each time in another mode, and with another pause. A process that is busy where it cannot be borrowed refuses."""
    refused = 0
    for i in range(times):
        done = command(t, "attach", "--mode", ("sample", "exact")[i % 2], pid)
        if done.returncode != 0 and "within 5 s no thread" in done.stderr:
            refused += 1
            continue
        t.check(done.returncode == 0, f"attach {i}: {done.stderr}")
        time.sleep(0.02 * (i % 8))
        done = command(t, "detach", pid)
        t.check(done.returncode == 0, f"detach {i}: {done.stderr}")
    t.check(refused * 10 <= times, f"{refused} of {times} refused")


def sites_of(t: Test, pid: int) -> dict[str, tuple[float, float]]:
    """Live bytes by call site, and the error that is stated, as a part of them."""
    done = command(t, "top", "-b", "-n", "1", "--rows", "0", pid)
    t.check(done.returncode == 0, done.stderr)
    found: dict[str, tuple[float, float]] = {}
    for line in done.stdout.splitlines():
        row = re.match(r"\s*([\d.]+) ([KMG]?i?B)\s+(?:±(\d+) %|exact)?\s+\+\S+ \w+\s.*?\s-\s+-  (\S.*)$", line)
        if row:
            live, error = found.get(row.group(4), (0.0, 0.0))
            here = float(row.group(1)) * UNITS[row.group(2)]
            found[row.group(4)] = (live + here, max(error, float(row.group(3) or 0) / 100))
    return found


def start_redis(t: Test, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
    path = Path(t.tmp) / "redis.sock"
    path.unlink(missing_ok=True)
    server = t.start([t.program("redis-server"), *SERVER_OPTIONS, "--unixsocket", path], env)
    wait_until(lambda: listens(path), 30, "redis to listen")
    return server, path


@pytest.mark.timeout(200)
@pytest.mark.parametrize("times", TIMES)
def test_redis_under_load(t: Test, times: int) -> None:
    server, path = start_redis(t, t.plain_env())
    load = t.start([t.program("redis-benchmark"), "-s", path, "-q", "-n", "100000000", "-r", "10000", "-d", "200",
                    "-t", "set,get,lpush,lpop"], t.plain_env(), label="load")
    time.sleep(0.5)
    attach_and_detach(t, server.pid, times)
    t.check(load.poll() is None, "the load ended: " + t.output_of(load)[-300:] + t.output_of(load, "stderr")[-300:])
    t.equal(Client(path).ask("PING"), "PONG", "what redis says")
    load.kill()
    server.terminate()
    t.finish(server)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("times", TIMES)
def test_a_postgres_backend_under_pgbench(t: Test, times: int) -> None:
    server = Server(t, Path(t.tmp) / "cluster", t.plain_env(), "bare")
    server.tool("initdb", "-D", server.folder / "data", "-A", "trust", "-U", "tester", "--no-sync")
    server.start()
    pgbench = ["-h", server.folder, "-U", "tester"]
    server.tool("pgbench", *pgbench, "-i", "-s", "1", "-q", "postgres")
    load = t.start([server.binaries / "pgbench", *pgbench, "-c", "1", "-T", "100000", "postgres"], t.plain_env(), label="load",
                   cwd=server.folder, **server.identity)
    # Its first connection only asks how large the tables are.
    which = "select pid from pg_stat_activity where application_name = 'pgbench' and query ilike 'update%'"
    backend = int(wait_until(lambda: server.query(which).split("\n")[0], 30, "pgbench to connect"))
    attach_and_detach(t, backend, times)
    t.check(load.poll() is None, "pgbench ended: " + t.output_of(load, "stderr")[-300:])
    t.equal(server.query("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"),
            "t", "whether the accounts agree")
    load.kill()
    server.stop()
    t.check("terminated by signal" not in t.output_of(server.process, "stderr"), "a backend crashed")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("program,option,code", [("node", "-e", NODE), ("python3", "-c", PYTHON)], ids=["node", "python3"])
def test_runtimes_that_work(t: Test, program: str, option: str, code: str, times: int) -> None:
    server = t.start([t.program(program), option, code], t.plain_env())
    time.sleep(1)
    attach_and_detach(t, server.pid, times)
    server.send_signal(signal.SIGTERM)
    done = t.finish(server)
    asked, bad = (int(number) for number in re.findall(r"\d+", done.stdout))
    t.check(asked > times and bad == 0, f"{asked} done, {bad} of them wrong")


@pytest.mark.timeout(200)
def test_sites_agree_with_those_of_a_preloaded_run(t: Test) -> None:
    """redis is given the same data: once with mallard from the start, twice attached to before the data comes."""
    def run(preloaded: bool, mode: str) -> dict[str, tuple[float, float]]:
        server, path = start_redis(t, t.preload_env(ALLOC_BACKEND="next", ALLOC_MODE=mode) if preloaded else t.plain_env())
        if not preloaded:
            done = command(t, "attach", "--mode", mode, server.pid)
            t.check(done.returncode == 0, done.stderr)
        client = Client(path)
        client.ask("DEBUG", "POPULATE", "60000", "key", "400")
        for i in range(300):
            client.ask("RPUSH", f"list:{i}", *(str(j) * 200 for j in range(100)))
        found = sites_of(t, server.pid)
        server.terminate()
        t.finish(server)
        return found

    truth = run(True, "exact")
    counted, sampled = run(False, "exact"), run(False, "sample")
    leading = sorted((site for site in truth if truth[site][0] > 8 << 20), key=lambda site: -truth[site][0])
    t.check(len(leading) >= 2, f"the run has too few large sites: {sorted(truth.values())[-5:]}")
    for site in leading:
        expected = truth[site][0]
        exact = counted.get(site, (0.0, 0.0))[0]
        # Rehashing and rounding in the text's three digits; nothing else differs.
        t.check(abs(exact - expected) <= 0.02 * expected, f"{site}: {exact} counted, {expected} with the preload")
        live, error = sampled.get(site, (0.0, 0.0))
        # The error is that of 95 %; what chance does once in a million is two and a half times as far.
        if abs(live - expected) > 2.5 * max(error, 0.1) * max(live, expected):
            raise Failure(f"{site}: {live} ± {error:.0%} from samples, {expected} with the preload")
