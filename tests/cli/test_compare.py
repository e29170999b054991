# SPDX-License-Identifier: Apache-2.0
"""mallard compare: a program under several allocators and settings, in turns; what goes wrong is a row or a line."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from .harness import Failure, Test

# Holds MIB mebibytes, and a second lot that it has freed again when it says that it is ready.
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static size_t mib(const char* name, size_t other) { const char* v = getenv(name); return v ? strtoul(v, 0, 10) : other; }
int main(int count, char** words) {
  size_t kept = mib("KEPT", 40) << 20;
  char* p = malloc(kept);
  memset(p, 1, kept);
  puts(getenv("PRINTS") ? getenv("PRINTS") : "ready");
  fflush(stdout);
  if (getenv("ENDS")) return atoi(getenv("ENDS"));
  if (count > 1) for (;;) pause();
  return p[kept / 2] - 1;
}
"""


def compare(t: Test, *words: str, status: int = 0, error: str = "", **env: str) -> dict[str, Any]:
    done = t.run("compare", "--format", "json", "--runs", "2", *words, env=env)
    t.expect(done, status, error=error)
    return json.loads(done.stdout) if done.stdout else {}


def candidate(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in result["candidates"] if c["name"] == name)


def test_the_smaller_candidate_is_advised(t: Test) -> None:
    program = str(t.compile("holder", source=PROGRAM))
    result = compare(t, "--backends", "jemalloc", "--try", "small: KEPT=10", "--try", "same: KEPT=40",
                     "--fail-on", "best<-20%", "--", program, status=1, error="small: ")
    if result["best"] != "small" or not result["advice"].startswith("small: ") or not -0.8 < result["best_change"] < -0.5:
        raise Failure(f"{result['best']}, {result['best_change']}: {result['advice']}")
    for name, mebibytes in (("as shipped", 40), ("jemalloc", 40), ("small", 10), ("same", 40)):
        peak = candidate(result, name)["peak_bytes"]["median"] / 2**20
        live = candidate(result, name)["runs"][0]["after_load"]["ledger"]["live"] / 2**20
        if not (mebibytes <= peak < mebibytes + 12 and abs(live - mebibytes) < 1):
            raise Failure(f"{name} has a peak of {peak} MiB and {live} MiB live")
    if not candidate(result, "jemalloc")["serves"].startswith("jemalloc 5"):
        raise Failure(candidate(result, "jemalloc")["serves"])


def test_equal_candidates_are_called_equal(t: Test) -> None:
    result = compare(t, "--backends", "system", "--fail-on", "best<-10%", "--", str(t.compile("holder", source=PROGRAM)))
    if result["best"] != "as shipped" or not result["advice"].startswith("Keep it as shipped"):
        raise Failure(result["advice"])


def test_a_server_is_driven_and_looked_at_twice(t: Test) -> None:
    program = str(t.compile("holder", source=PROGRAM))
    result = compare(t, "--backends", "jemalloc", "--ready", "^ready", "--load", "echo did 1234 things; sleep 0.2",
                     "--metric", "did ([0-9]+)", "--check", "echo same", "--idle", "0.2", "--", program, "serve")
    for c in result["candidates"]:
        run = c["runs"][0]
        if c["failures"] or c["metric"]["median"] != 1234 or run["wall_seconds"] < 0.2 or not c["same_result"]:
            raise Failure(str(c))
        for when in ("after_load", "after_idle"):
            if not 40 << 20 <= run[f"{when}_bytes"] < 52 << 20 or run[when]["ledger"]["live"] < 39 << 20:
                raise Failure(f"{when}: {run}")


# A large block that was mapped and freed has glibc keep the top of its heap.
KEEPS_A_TOP = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  static void *blocks[60000], *volatile one;  // compilers leave out what is freed at once
  one = malloc(24);  // since glibc 2.43 the first free makes the thread's cache, which would pin the top
  free(one);
  one = malloc(30 << 20);
  free(one);
  for (int i = 0; i < 60000; ++i) memset(blocks[i] = malloc(900), 1, 900);
  for (int i = 0; i < 60000; ++i) free(blocks[i]);
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_what_the_first_report_advises_is_tried(t: Test) -> None:
    program = str(t.compile("keeps_a_top", source=KEEPS_A_TOP))
    result = compare(t, "--backends", "", "--tune", "--ready", "ready", "--load", "true", "--idle", "0.1",
                     "--", program)
    names = [c["name"] for c in result["candidates"]]
    if names != ["as shipped", "trim threshold", "no huge pages"] or not result["advice"].startswith("trim threshold: "):
        raise Failure(f"{names}: {result['advice']}")
    if candidate(result, "trim threshold")["variables"] != [["GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"]]:
        raise Failure(str(candidate(result, "trim threshold")["variables"]))


def test_what_fails_is_a_row_with_its_reason(t: Test) -> None:
    program = str(t.compile("holder", source=PROGRAM))
    result = compare(t, "--backends", "", "--try", "ends: ENDS=3", "--try", "prints: PRINTS=other", "--try",
                     "refused: ALLOC_BACKEND=" + program, "--", program)
    if "ended with status 3" not in candidate(result, "ends")["runs"][0]["failure"]:
        raise Failure(str(candidate(result, "ends")))
    refused = candidate(result, "refused")["runs"][0]["failure"]
    if not refused.startswith("system glibc ") or "serves the program instead" not in refused or "cannot be used" not in refused:
        raise Failure(refused)
    if candidate(result, "prints")["same_result"] or not candidate(result, "as shipped")["same_result"]:
        raise Failure("what another candidate printed was not compared")
    serve = ["--backends", "", "--idle", "0.1", "--", program, "serve"]
    ready = ["--ready", "ready"]
    for words, why in (
            (["--ready", "never said", "--ready-timeout", "0.3", "--load", "true"], "not ready within 0.3 s"),
            ([*ready, "--load", "echo lost; false"], 'the load ended with status 1: "lost"'),
            ([*ready, "--load", "kill -9 $MALLARD_PID; sleep 1"], "was killed by signal 9"),
            ([*ready, "--load", "true", "--metric", "(7)"], "printed nothing that matches --metric"),
            ([*ready, "--load", "sleep 9", "--load-timeout", "0.2"], "the load took longer than 0.2 s")):
        compare(t, *words, *serve, status=3, error=why)


def test_wrong_use_is_told_in_one_line(t: Test) -> None:
    for words, error in (
            (["--backends", "nomalloc"], "candidate 'nomalloc' is no backend"),
            (["--backends", "/no/such.so"], "candidate '/no/such.so' cannot be read"),
            (["--try", "MALLOC_ARENA_MAX=1"], "has no name before a colon"),
            (["--try", "x: 7=1"], "'7=1' sets no variable"),
            (["--try", "x: A=1", "--try", "x: A=2"], "two candidates are called 'x'"),
            (["--load", "true"], "--load needs to know when the program is ready"),
            (["--ready", "x"], "there is no --load to drive it"),
            (["--ready", "(", "--load", "true"], "--ready '(' is no regular expression"),
            (["--ready", "x", "--load", "true", "--metric", "x"], "has no group for the number"),
            (["--stop", "NOSUCH"], "--stop 'NOSUCH' is no signal"),
            (["--fail-on", "rss>1G"], "is no condition of a comparison")):
        compare(t, *words, "--", "true", status=2, error=error)


def children_of(words: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False).stdout.split()


def test_interrupted_it_stops_what_it_started(t: Test) -> None:
    program = t.compile("holder-to-stop", source=PROGRAM)
    mallard = subprocess.Popen([t.mallard, "compare", "--backends", "", "--ready", "ready", "--load", "sleep 60", "--",
                                program, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "TMPDIR": str(t.dir)})
    until = time.monotonic() + 20
    while not list(Path(t.dir).glob("mallard-compare-*/*.load")) and time.monotonic() < until:
        time.sleep(0.05)
    mallard.send_signal(signal.SIGINT)
    _, errors = mallard.communicate(timeout=30)
    if mallard.returncode != 3 or "the comparison was interrupted" not in errors:
        raise Failure(f"status {mallard.returncode}: {errors}")
    if left := children_of(f"^{program} serve"):
        raise Failure(f"still running: {left}")
    if left := list(Path(t.dir).glob("mallard-compare-*")):
        raise Failure(f"left behind: {left}")


# A million pairs, of which the share that is timed has enough for p99.9.
PAIRS = """
#include <stdlib.h>
int main(void) {
  for (int i = 0; i < 1000000; ++i) {
    char* volatile p = malloc(64);
    p[0] = 1;
    free(p);
  }
  return 0;
}
"""


def test_latency_of_malloc_and_free(t: Test) -> None:
    program = str(t.compile("pairs", source=PAIRS))
    words = ["--backends", "jemalloc", "--", program]
    result = compare(t, *words)
    for c in result["candidates"]:
        for operation in ("malloc", "free"):
            times = {name: figure["median"] for name, figure in c["latency"][operation].items()}
            if not 0 <= times["p50_ns"] <= times["p99_ns"] <= times["p99_9_ns"] <= times["max_ns"] or times["p50_ns"] > 5000:
                raise Failure(f"{c['name']}: {operation} took {times}")
        if c["runs"][0]["latency"]["malloc"]["p50_ns"] is None:
            raise Failure(str(c["runs"][0]))
    t.expect(t.run("compare", "--runs", "1", *words), 0, "How long calls of malloc took (one of 64 timed)\n")
    t.expect(t.run("compare", "--runs", "1", "--format", "markdown", *words), 0, "| malloc | p50 | p99 | p99.9 | max |")
    without = compare(t, "--no-latency", *words)
    if candidate(without, "jemalloc")["latency"]["malloc"]["p50_ns"] is not None:
        raise Failure("--no-latency times calls")
