# SPDX-License-Identifier: Apache-2.0
"""`mallard dump --leaks`: who made the blocks that nothing leads to, in a process with mallard."""
from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support.report_check import ledger_faults
from support.report_schema import expanded, faults_of

from .control import library
from .harness import Failure, Skip, Test
from .test_dump_outside import is_readable

# Two functions lose blocks, one of them in pairs, and a third keeps as many. What it keeps only its table leads to.
LOSES = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { kFirst = 12000, kSecond = 3000, kKept = 20000 };
char* kept[kKept]; /* not static: a compiler drops what is only written to */
static char* filled(size_t bytes, int with) { return memset(malloc(bytes), with, bytes); }
__attribute__((noinline)) void lose_records(void) { for (int i = 0; i < kFirst; i++) filled(2400, 1); }
__attribute__((noinline)) void lose_pairs(void) {
  char* last = NULL;
  for (int i = 0; i < kSecond; i++) {
    char* one = filled(4000, 2);
    if (i % 2) memcpy(one, &last, sizeof last);
    last = one;
  }
}
__attribute__((noinline)) void keep_all(void) { for (int i = 0; i < kKept; i++) kept[i] = filled(1000, 3); }
__attribute__((noinline)) void wipe(void) { volatile char old[64 << 10]; for (size_t i = 0; i < sizeof old; i++) old[i] = 0; }
int main(int argc, char** argv) {
  keep_all();
  if (argc > 1 && strcmp(argv[1], "healthy") != 0) {
    lose_records();
    lose_pairs();
  }
  wipe();
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""
FIRST, SECOND = 12000, 3000
MADE_BY = {"lose_records": FIRST, "lose_pairs": SECOND}
SAMPLE_BYTES = "32768"


def start(t: Test, what: str, backend: str, mode: str) -> subprocess.Popen[bytes]:
    program = t.compile("loses", "-g", "-fno-optimize-sibling-calls", "-fno-inline", "-rdynamic", source=LOSES)
    process = t.start(program, what, env={"LD_PRELOAD": library(t), "ALLOC_BACKEND": backend, "ALLOC_MODE": mode,
                                          "ALLOC_SAMPLE_BYTES": SAMPLE_BYTES, "ALLOC_REPORT": str(t.dir / "r.%p.%n")})
    is_readable(t, process.pid)
    return process


def dump(t: Test, pid: int, *options: str) -> dict:
    done = t.run("dump", "--leaks", "--again-after", "0.2", "--json", str(pid), *options)
    if done.status != 0:
        raise Failure(f"status {done.status}: {done.stderr}")
    report = json.loads(done.stdout)
    if faults_of(report) or ledger_faults(report):
        raise Failure(f"{faults_of(report)} {ledger_faults(report)}")
    return report


def made_by(report: dict) -> dict[str, dict]:
    """Lost blocks by the function of the program's that is nearest to malloc and is no helper."""
    stacks = {site["id"]: [frame.get("function") or "" for frame in site["stack"] if isinstance(frame, dict)]
              for site in expanded(report)["sites"]}
    found: dict[str, dict] = {}
    for site in report["lost"]["sites"]:
        names = [name for name in stacks[site["site"]] if name in ("lose_records", "lose_pairs", "keep_all")]
        found[names[0] if names else "other"] = site
    return found


@pytest.mark.parametrize("backend", ("system", "jemalloc", "mimalloc3"))
@pytest.mark.parametrize("mode", ("sample", "exact"))
def test_lost_blocks_have_their_call_sites(t: Test, backend: str, mode: str) -> None:
    process = start(t, "loses", backend, mode)
    report = dump(t, process.pid)
    if report["backend"]["name"] != backend.rstrip("3"):
        raise Skip(f"there is no {backend} here")
    lost, sites = report["lost"], made_by(report)
    if not lost["done"] or lost["sites_by"] != mode:
        raise Failure(f"{lost}")
    # A stale address keeps the block that it leads to, and what that leads to.
    if not (FIRST + SECOND) * 0.97 <= lost["blocks"] <= FIRST + SECOND + 20:
        raise Failure(f"{lost['blocks']} of {FIRST + SECOND}: {lost}")
    # The first of a pair nothing leads to, the second its first does.
    if not FIRST + SECOND / 2 - 300 <= lost["first_blocks"] <= FIRST + SECOND / 2 + 20:
        raise Failure(f"{lost['first_blocks']} are the first to be lost: {lost}")
    if "keep_all" in sites:
        raise Failure(f"blocks that are kept are called lost: {sites}")
    for name, blocks in MADE_BY.items():
        figure = sites[name]["blocks"]
        if mode == "exact" and not 0.97 * blocks <= figure <= blocks:
            raise Failure(f"{name}: {figure} of {blocks}")
        # Of 850 and 340 samples: 5 standard deviations and more.
        if mode == "sample" and not 0.7 * blocks <= figure <= 1.3 * blocks:
            raise Failure(f"{name}: {figure} of {blocks}")
        if sites[name]["aged_samples"] < 10 or not 0 < sites[name]["youngest_ns"] <= sites[name]["oldest_ns"] < 300e9:
            raise Failure(f"{name}: {sites[name]}")
    if mode == "exact" and lost["unbooked_blocks"] > 20:
        raise Failure(f"{lost['unbooked_blocks']} lost blocks are on no books")
    verdict = next((f for f in report["findings"] if f["cause"] == "lost_blocks"), None)
    said = ": by the samples about " if mode == "sample" else ": "
    if not verdict or "Most are of " not in verdict["text"] or "lose_records" not in verdict["text"] or said not in verdict["text"]:
        raise Failure(f"{report['findings']}")
    if "the youngest " not in verdict["text"] or verdict["sites"][0] != lost["sites"][0]["site"]:
        raise Failure(f"{verdict}")


@pytest.mark.parametrize("backend", ("system", "jemalloc"))
@pytest.mark.parametrize("mode", ("sample", "exact"))
def test_a_healthy_program_has_none(t: Test, backend: str, mode: str) -> None:
    process = start(t, "healthy", backend, mode)
    report = dump(t, process.pid)
    if not report["lost"]["done"] or report["lost"]["blocks"] > 4 or report["lost"]["examined_blocks"] < 20000:
        raise Failure(f"{report['lost']}")
    if any(f["cause"] == "lost_blocks" for f in report["findings"]):
        raise Failure(f"{report['findings']}")
    t.expect(t.run("dump", "--leaks", "--again-after", "0.1", "--fail-on", "lost>1M", str(process.pid)), 0,
             "Lost blocks", error="(and .txt)")


def test_the_text_names_them_and_fails_on_them(t: Test) -> None:
    pid = start(t, "loses", "system", "exact").pid
    done = t.run("dump", "--leaks", "--again-after", "0.1", "--full", "--fail-on", "lost>1M", str(pid))
    t.expect(done, 1, "Lost blocks", "youngest", "lose_records", error="lost is ")
    # The report that is in a file is the same, and reads so.
    files = list(Path(t.dir).glob("r.*.json"))
    if not files or "lose_records" not in t.run("report", str(files[0])).stdout.partition("Lost blocks")[2]:
        raise Failure(f"{files}")
    page = t.run("dump", "--leaks", "--again-after", "0.1", "--html", "page.html", str(pid))
    if "was built without the HTML page" in page.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    t.expect(page, 0, error="(and .txt)")
    if "lose_records" not in (t.dir / "page.html").read_text():
        raise Failure("the page does not name them")


def test_what_the_signal_cannot_do_is_refused(t: Test) -> None:
    pid = start(t, "loses", "system", "sample").pid
    for option in ("--by-signal", "--purge"):  # both are the signal's
        done = t.run("dump", "--leaks", option, str(pid))
        if done.status != 2 or option not in done.stderr:
            raise Failure(f"{done}")


def test_redis_keeps_all_that_it_has(t: Test) -> None:
    if not shutil.which("redis-server") or not shutil.which("redis-cli"):
        raise Skip("there is no redis-server")
    socket = f"{t.dir}/redis.sock"
    for mode in ("sample", "exact"):
        process = t.start("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(t.dir),
                          env={"LD_PRELOAD": library(t), "ALLOC_MODE": mode, "ALLOC_REPORT": str(t.dir / "r.%p")})
        is_readable(t, process.pid)
        ask = ["redis-cli", "-s", socket]
        until = time.monotonic() + 30
        while subprocess.run([*ask, "ping"], capture_output=True, check=False).returncode and time.monotonic() < until:
            time.sleep(0.05)
        subprocess.run([*ask, "eval", "for i = 1, 50000 do redis.call('set', 'key' .. i, string.rep('x', 100)) end", "0"], capture_output=True, check=True)
        report = dump(t, process.pid)
        if not report["lost"]["done"] or report["lost"]["examined_blocks"] < 100_000:
            raise Failure(f"{report['lost']}")
        if report["lost"]["bytes"] > 0.001 * report["lost"]["examined_bytes"]:
            raise Failure(f"{report['lost']}")
        process.terminate()
        process.wait()
