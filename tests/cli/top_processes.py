# SPDX-License-Identifier: Apache-2.0
"""`mallard top`: its figures against what the program does, its keys in a terminal, and every reason why not."""
from __future__ import annotations

import os
import re
import signal
import subprocess

from control import quiet_state, start
from dump_processes import HOLDER
from harness import Failure, Test, test
from screen import LEAVES_SCREEN, Screen

# Holds 32 MiB, gains 4 MiB/s that it keeps, and allocates and frees 40 MiB/s, all from functions of its own.
WORKER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define APART __attribute__((noinline))
static void* kept[1 << 20];
static int count;
APART void hold(void) { for (int i = 0; i < 8192; ++i) kept[count++] = memset(malloc(4096), 1, 4096); }
APART void* leak_one(void) { return memset(malloc(4096), 1, 4096); }
APART void churn_one(void) { void* volatile p = malloc(4096); free(p); }
int main(void) {
  hold();
  puts("up");
  fflush(stdout);
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (long tick = 0; count < (1 << 20) - 100; ++tick) {
    for (int i = 0; i < 10; ++i) kept[count++] = leak_one();
    for (int i = 0; i < 102; ++i) churn_one();
    for (;;) {  // without a rest where it is late
      clock_gettime(CLOCK_MONOTONIC, &now);
      if ((now.tv_sec - start.tv_sec) * 100 + now.tv_nsec / 10000000 - start.tv_nsec / 10000000 >= tick) break;
      const struct timespec ms = {0, 1000000};
      nanosleep(&ms, NULL);
    }
  }
}
"""
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def bytes_of(text: str) -> float:
    number, unit = text.split()
    return float(number) * UNITS[unit.removesuffix("/s")]


def row_of(screen: str, function: str) -> tuple[float, float, float]:
    """Live, growth, allocated per second of the site with that leaf."""
    size = r"([+-]?[\d.]+ [KMGB]i?B?)"
    for line in screen.splitlines():
        found = re.match(rf"\s*{size}\s+(?:±\S+ ?%?)?\s+{size}\s+(?:±\S+ ?%?)?\s+([\d.]+ \w+/s|-).*  {function}", line)
        if found:
            rate = found.group(3)
            return bytes_of(found.group(1)), bytes_of(found.group(2)), 0 if rate == "-" else bytes_of(rate)
    raise Failure(f"no row of {function} in:\n{screen}")


def near(what: str, found: float, expected: float, part: float) -> None:
    if abs(found - expected) > part * expected:
        raise Failure(f"{what}: {found / (1 << 20):.2f} MiB, expected {expected / (1 << 20):.2f} MiB ± {part:.0%}")


@test
def top_batch_agrees_with_the_program(t: Test) -> None:
    pid = start(t, WORKER, ALLOC_SAMPLE_BYTES="16384")
    before = quiet_state(pid)
    done = t.run("top", "-b", "-n", "2", "-d", "3", str(pid))
    t.expect(done, 0, f"mallard top: holder ({pid}), up ", "system, mode sample, a sample per 16.0 KiB",
             "Ledger    not asked for (--ledger)", "Rates     from the next reading on")
    screen = done.stdout[done.stdout.rindex("mallard top:"):]
    live, growth, _ = row_of(screen, "hold")
    near("live of hold", live, 32 << 20, 0.2)
    if growth != 0:
        raise Failure(f"hold grew by {growth} although it did nothing")
    seconds = float(re.search(r"growth .* in ([\d.]+) s;", screen).group(1))
    _, growth, rate = row_of(screen, "leak_one")
    near("growth of leak_one", growth, 4096 * 1000 * seconds, 0.5)
    _, _, rate = row_of(screen, "churn_one")
    near("rate of churn_one", rate, 4096 * 10200, 0.5)
    if quiet_state(pid) != before or list(t.dir.glob("report.*")):
        raise Failure("the process was not left alone")


@test
def top_batch_with_a_ledger(t: Test) -> None:
    pid = start(t)
    done = t.run("top", "-b", "-n", "1", "--ledger", "1m", "--sort", "resident", "--rows", "3", str(pid))
    t.expect(done, 0, ">resident")
    if not re.search(r"^Ledger    \d+\.\d s ago: .*\d+ %, ", done.stdout, re.MULTILINE) or len(done.stdout.splitlines()) > 11:
        raise Failure(f"unexpected text:\n{done.stdout}")


@test
def top_of_processes_that_cannot_be_read(t: Test) -> None:
    plain = t.start(t.compile("holder", source=HOLDER)).pid
    t.expect(t.run("top", "-b", str(plain)), 3,
             error=f"mallard: error: libmallard.so is not loaded in process {plain} ('holder')\n")
    for arguments, message in ((["x"], "PID: 'x' is no process id"), ([], "PID is required"),
                               (["1", "-d", "0"], "--delay: "),
                               (["1", "-d", "nan"], "--delay: 'nan' is no number of seconds above 0"), (["1", "--sort", "size"], "--sort: "),
                               (["1", "--ledger", "often"], "--ledger: 'often' cannot be used: expected is 0, or a time")):
        t.expect(t.run("top", *arguments), 2, error=f"mallard: error: {message}")
    pid = start(t)
    t.expect(t.run("top", str(pid)), 2, error="mallard: error: standard input or output is no terminal\n"
                                              "mallard: hint: use --batch\n")
    off = start(t, ALLOC_MODE="off")
    t.expect(t.run("top", "-b", "-n", "1", str(off)), 0, "mode off",
             f"Nothing is recorded now, what stands here is old. To begin: mallard mode {off} sample")


@test
def top_ends_with_the_process(t: Test) -> None:
    pid = start(t)
    top = subprocess.Popen([t.mallard, "top", "-b", "-d", "0.1", str(pid)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert top.stdout
    top.stdout.readline()
    os.kill(pid, signal.SIGKILL)
    _, stderr = top.communicate(timeout=120)
    if top.returncode != 0 or stderr != f"mallard: process {pid} ('holder') has ended\n":
        raise Failure(f"status {top.returncode}: {stderr}")


@test
def top_says_what_it_reads_in_exact_mode(t: Test) -> None:
    pid = start(t, ALLOC_MODE="exact")
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0,
             f"Estimates, from the samples under the exact books; counted figures: mallard dump {pid}")


@test
def top_keys(t: Test) -> None:
    pid = start(t)
    screen = Screen(t, "-d", "0.5", str(pid))
    screen.read_until(f"mallard top: holder ({pid})")
    screen.press("h")
    screen.read_until("Keys of mallard top")
    screen.press(" ")
    screen.read_until("Resident")
    screen.press("\n")
    screen.read_until("Enter goes back")
    screen.press("\n")
    screen.read_until("Live")
    screen.press("x")
    screen.read_until("There is no key 'x': h shows the keys")
    screen.press("R")
    screen.read_until("press l")
    screen.press("dtoo long\n")
    screen.read_until("'too long' cannot be used")
    screen.press("l")
    screen.read_until("s ago: ")
    screen.resize(140, 50)
    screen.read_until("blocks/s")
    screen.press("q")
    text, status, _ = screen.end()
    if status != 0 or LEAVES_SCREEN not in text:
        raise Failure(f"status {status}, at the end: {text[-200:]!r}")
