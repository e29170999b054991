# SPDX-License-Identifier: Apache-2.0
"""Interpreters: python3 and node. The scripts say 'ready', wait for a line, and end with a checksum."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.framework import Test, wait_until
from support.marks import every_backend
from support.reports import ask_and_check

PYTHON_SCRIPT = '''
import csv, decimal, email, hashlib, http.client, io, json, sqlite3, sys, threading, unittest, xml.dom.minidom, zlib
results = {}
def work(number):
    data = [{"id": i, "name": "n%d" % (i * 7919 % 1000), "v": [i * k for k in range(6)]} for i in range(6000)]
    text = json.dumps(data)
    table = {}
    for row in json.loads(text):
        table.setdefault(row["name"], []).append(row)
    results[number] = (text, table, hashlib.sha256(zlib.compress(text.encode())).hexdigest())
def run_threads(first):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(first, first + 4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
run_threads(0)
print("ready", flush=True)
sys.stdin.readline()
run_threads(4)
total = hashlib.sha256()
for number in sorted(results):
    text, table, digest = results[number]
    total.update(digest.encode() + str(sorted(map(len, table.values()))).encode())
print("checksum", total.hexdigest())
'''

NODE_SCRIPT = '''
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto"), zlib = require("zlib");
function work(seed) {
  const rows = [], map = new Map();
  let x = seed;
  for (let i = 0; i < 20000; i++) {
    x = (x * 1103515245 + 12345) % 2147483648;
    rows.push({ i, x, s: "v" + (x % 977) });
    map.set("k" + (x % 5003), Buffer.alloc(64 + x % 900, x % 251));
  }
  const hash = crypto.createHash("sha256");
  hash.update(zlib.deflateSync(Buffer.from(JSON.stringify(rows))));
  for (const key of [...map.keys()].sort()) hash.update(key).update(map.get(key));
  return hash.digest("hex");
}
if (!isMainThread) {
  parentPort.postMessage(work(workerData));
} else {
  const spawn = (seed) => new Promise((done, fail) => {
    const w = new Worker(__filename, { workerData: seed });
    let result; w.on("message", (m) => result = m); w.on("error", fail); w.on("exit", () => done(result));
  });
  (async () => {
    const first = await Promise.all([1, 2, 3].map(spawn));
    const second = [4, 5, 6].map(spawn);
    console.log("ready");
    await new Promise((go) => process.stdin.once("data", go));
    const all = first.concat(await Promise.all(second), work(7));
    console.log("checksum", crypto.createHash("sha256").update(all.join()).digest("hex"));
    process.exit(0);
  })();
}
'''


def conversation(t: Test, argv: list[str | Path], env: dict[str, str], label: str, signalled: bool,
                 min_sites: int = 3) -> list[str]:
    """Runs the script up to 'ready', asks for a report, lets it go on; gives its whole output."""
    process = t.start(argv, env, label=label, stdin=subprocess.PIPE)
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 40,
               f"{label} to get ready")
    if process.poll() is not None:
        t.finish(process)
    if signalled:
        ask_and_check(t, process, min_sites=min_sites)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    done = t.finish(process)
    t.check("checksum" in done.stdout, f"{label} ended without a checksum: {done.stdout[-200:]}")
    return done.stdout.splitlines()


def both_ways(t: Test, key: str, argv: list[str | Path]) -> None:
    expected = t.baseline(key, lambda: conversation(t, argv, t.plain_env(), "plain", signalled=False))
    found = conversation(t, argv, t.preload_env(ALLOC_SAMPLE_BYTES="65536"), key, signalled=True)
    t.equal(found, expected, f"output of {key}")


@every_backend
@pytest.mark.timeout(90)
def test_python3(t: Test) -> None:
    script = t.tmp / "work.py"
    script.write_text(PYTHON_SCRIPT)
    both_ways(t, "python3", [t.program("python3"), "-B", script])


@every_backend
@pytest.mark.timeout(90)
def test_node(t: Test) -> None:
    script = t.tmp / "work.js"
    script.write_text(NODE_SCRIPT)
    both_ways(t, "node", [t.program("node"), script])
