# SPDX-License-Identifier: Apache-2.0
"""`mallard top`: its figures against what the program does, its keys in a terminal, and every reason why not."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .control import library, quiet_state, start
from .harness import Failure, Test
from .screen import LEAVES_SCREEN, Screen

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
SLEEPER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void* volatile kept;
int main(void) {
  kept = memset(malloc(32 << 20), 1, 32 << 20);
  puts("up");
  fflush(stdout);
  for (;;) pause();
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
        found = re.match(rf"\s*{size}\s+(?:±\S+ ?%?|exact)?\s+{size}\s+(?:±\S+ ?%?)?\s+([\d.]+ \w+/s|-).*  {function}", line)
        if found:
            rate = found.group(3)
            return bytes_of(found.group(1)), bytes_of(found.group(2)), 0 if rate == "-" else bytes_of(rate)
    raise Failure(f"no row of {function} in:\n{screen}")


def near(what: str, found: float, expected: float, part: float) -> None:
    if abs(found - expected) > part * expected:
        raise Failure(f"{what}: {found / (1 << 20):.2f} MiB, expected {expected / (1 << 20):.2f} MiB ± {part:.0%}")


def test_top_names_the_program_as_it_was_started(t: Test) -> None:
    """redis-server is a link to redis-check-rdb, and reports call it redis-server."""
    alias = t.dir / "alias"
    alias.symlink_to(t.compile("the-file", source=WORKER))
    pid = t.start(alias, env={"LD_PRELOAD": library(t), "ALLOC_SAMPLE_BYTES": "16384"}).pid
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "hold  [alias]")


def test_top_batch_agrees_with_the_program(t: Test) -> None:
    pid = start(t, WORKER, ALLOC_SAMPLE_BYTES="16384")
    before = quiet_state(pid)
    done = t.run("top", "-b", "-n", "2", "-d", "3", str(pid))
    t.expect(done, 0, f"mallard top: holder ({pid}), up ", "mode sample, a sample per 16.0 KiB",
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


# Calls malloc from a page that no file holds.
GENERATED = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
  unsigned char* code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  /* push %rbp; mov %rsp, %rbp; mov $65536, %edi; mov $malloc, %rax; call *%rax; pop %rbp; ret */
  unsigned char stub[] = {0x55, 0x48, 0x89, 0xe5, 0xbf, 0, 0, 1, 0, 0x48, 0xb8, 0, 0,
                          0,    0,    0,    0,    0,    0, 0xff, 0xd0, 0x5d, 0xc3};
  void* (*function)(size_t) = malloc;
  memcpy(stub + 11, &function, sizeof function);
  memcpy(code, stub, sizeof stub);
  void* (*call)(void);
  memcpy(&call, &code, sizeof call);
  for (int i = 0; i < 500; ++i) call();
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_top_names_generated_code(t: Test) -> None:
    pid = start(t, GENERATED, ALLOC_SAMPLE_BYTES="16384")
    done = t.run("top", "-b", "-n", "1", str(pid))
    t.expect(done, 0, "  [generated code]")


def test_top_batch_with_a_ledger(t: Test) -> None:
    pid = start(t)
    done = t.run("top", "-b", "-n", "1", "--ledger", "1m", "--sort", "resident", "--rows", "3", str(pid))
    t.expect(done, 0, ">resident")
    if not re.search(r"^Ledger    \d+\.\d s ago: .*\d+ %, ", done.stdout, re.MULTILINE) or len(done.stdout.splitlines()) > 11:
        raise Failure(f"unexpected text:\n{done.stdout}")


def switches(pid: int) -> list[str]:
    return [line for thread in Path(f"/proc/{pid}/task").iterdir()
            for line in (thread / "status").read_text(encoding="ascii").splitlines() if "ctxt_switches" in line]


@pytest.mark.parametrize("attached", [False, True], ids=["preloaded", "attached"])
def test_the_ledger_disturbs_nothing(t: Test, attached: bool) -> None:
    """No signal, no thread, no file: a process that sleeps is never scheduled for it."""
    program = t.compile("sleeper", source=SLEEPER)
    if attached:
        pid = t.start(program).pid
        t.expect(t.run("attach", str(pid)), 0, "recorded in mode sample", error="mallard dump")
    else:
        pid = t.start(t.mallard, "run", "--", program).pid
        time.sleep(0.5)
    before, files = switches(pid), sorted(t.dir.iterdir())
    done = t.run("top", "-b", "-n", "2", "-d", "0.5", "--ledger", "400ms", str(pid))
    t.expect(done, 0, " ago: live blocks ")
    if switches(pid) != before or sorted(t.dir.iterdir()) != files:
        raise Failure(f"{before} has become {switches(pid)}, {files} {sorted(t.dir.iterdir())}")


def test_top_of_processes_that_cannot_be_read(t: Test) -> None:
    for arguments, message in ((["0"], "PID|NAME: '0' is no process id"), ([], "PID|NAME is required"),
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


def test_top_ends_with_the_process(t: Test) -> None:
    pid = start(t)
    top = subprocess.Popen([t.mallard, "top", "-b", "-d", "0.1", str(pid)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert top.stdout
    top.stdout.readline()
    os.kill(pid, signal.SIGKILL)
    _, stderr = top.communicate(timeout=120)
    if top.returncode != 0 or stderr != f"mallard: process {pid} ('holder') has ended\n":
        raise Failure(f"status {top.returncode}: {stderr}")


# Several threads with more pairs of site and size than a thread keeps counts of for itself, some of them gone, some
# blocks freed by another thread; then all stand still.
COUNTED = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define APART __attribute__((noinline))
enum { THREADS = 8, BLOCKS = 3000 };
static void* volatile shared[THREADS][BLOCKS];
static pthread_barrier_t done;
APART void* from_one(long size) { return malloc(size); }
APART void* from_two(long size) { return malloc(size); }
APART void* deep(long depth, long size) {
  void* volatile p = depth ? deep(depth - 1, size) : malloc(size);
  return p;
}
static void* work(void* number) {
  long n = (long)number;
  for (long i = 0; i < BLOCKS; ++i) free(deep(i % 10, i * 40 + 1));
  for (long i = 0; i < BLOCKS; ++i) shared[n][i] = i % 3 ? from_one(i * 40 + 1) : from_two(i * 60 + 1);
  for (long i = 0; i < BLOCKS; i += 2) free(shared[n][i]);
  if (n % 2) return NULL;
  pthread_barrier_wait(&done);
  for (;;) pause();
}
int main(void) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&done, NULL, THREADS / 2 + 1);
  for (long n = 0; n < THREADS; ++n) pthread_create(&threads[n], NULL, work, (void*)n);
  for (long n = 1; n < THREADS; n += 2) pthread_join(threads[n], NULL);
  pthread_barrier_wait(&done);
  for (int i = 1; i < 1001; i += 2) free(shared[0][i]);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_top_counts_in_exact_mode(t: Test) -> None:
    pid = start(t, COUNTED, ALLOC_MODE="exact")
    done = t.run("top", "-b", "-n", "2", "-d", "0.2", "--rows", "0", str(pid))
    t.expect(done, 0, "mode exact  ", " blocks, counted", "allocated 0 B/s, 0 blocks/s", "growth +0 B in")
    if "Estimates" in done.stdout or "changed hands" in done.stdout or "sample" in done.stdout:
        raise Failure(f"it speaks of estimates:\n{done.stdout}")
    for function, step, ours in (("from_one", 40, lambda i: i % 3 != 0), ("from_two", 60, lambda i: i % 3 == 0)):
        live = 0
        for n in range(8):
            freed = (lambda i: i % 2 == 0) if n else (lambda i: i % 2 == 0 or i < 1001)
            live += sum(i * step + 1 for i in range(3000) if ours(i) and not freed(i))
        rows = [line for line in done.stdout.splitlines() if f"  {function}  [holder] < work" in line]
        expected = f"{live / (1 << 20):.1f} MiB"
        if len(rows) != 2 or not all(re.match(rf" *{re.escape(expected)} +exact +\+0 B +", row) for row in rows):
            raise Failure(f"{function} holds {expected} ({live} bytes); shown is:\n{done.stdout}")
    report = t.run("dump", str(pid))
    said = re.search(r"Live {6}(\S+ \w+);.*; ([\d,]+) blocks, counted", done.stdout)
    assert said
    data = json.loads(next(t.dir.glob("*.json")).read_text())["totals"]
    # The report itself is no block of the program's; those of its thread are a few.
    if abs(int(said.group(2).replace(",", "")) - data["live_count"]) > 3 or report.status != 0:
        raise Failure(f"top counts {said.group(2)} blocks, the report {data['live_count']}")


def test_top_counts_rates_and_switches(t: Test) -> None:
    """Counts of a working process; growth begins anew where counts take the place of estimates."""
    pid = start(t, WORKER, ALLOC_MODE="exact", ALLOC_CONTROL="1")
    done = t.run("top", "-b", "-n", "2", "-d", "2", str(pid))
    screen = done.stdout[done.stdout.rindex("mallard top:"):]
    live, growth, _ = row_of(screen, "hold")
    if live != 32 << 20 or growth != 0:
        raise Failure(f"hold has {live} bytes, and grew by {growth}")
    seconds = float(re.search(r"growth .* in ([\d.]+) s;", screen).group(1))
    near("growth of leak_one", row_of(screen, "leak_one")[1], 4096 * 1000 * seconds, 0.2)
    near("rate of churn_one", row_of(screen, "churn_one")[2], 4096 * 10200, 0.2)
    top = subprocess.Popen([t.mallard, "top", "-b", "-n", "6", "-d", "0.5", str(pid)], stdout=subprocess.PIPE, text=True)
    assert top.stdout
    top.stdout.readline()
    t.expect(t.run("mode", str(pid), "sample"), 0, "mode sample, was exact")
    text, _ = top.communicate(timeout=30)
    last = text[text.rindex("mallard top:"):]
    seconds = float(re.search(r"growth .* in ([\d.]+) s;", last).group(1))
    if "mode sample, a sample per" not in last or seconds >= 2.4:
        raise Failure(f"after the switch, growth over {seconds} s:\n{last}")


def test_top_keys(t: Test) -> None:
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


def test_top_fits_its_screen(t: Test) -> None:
    """Whatever its size: what is too long is cut off, nothing wraps or scrolls; and it is left as it was."""
    pid = start(t)

    def is_whole(lines: list[str]) -> bool:
        begins = [line.partition(" ")[0] for line in lines[:6]]
        return begins == ["mallard", "Resident", "Live", "Rates", "Process", "Ledger"] and ">live" in lines[7] and \
            lines[0].startswith(f"mallard top: holder ({pid})") and "main" in lines[8] + "main" * (len(lines[7]) < 80)

    for columns, lines in ((80, 24), (140, 50), (40, 12)):
        screen = Screen(t, "-d", "0.2", str(pid), columns=columns, lines=lines)
        screen.read_until_shown(is_whole, f"a whole screen of {columns}x{lines}")
        screen.press("h")
        screen.read_until("Keys of mallard top")
        screen.resize(columns + 30, lines + 3)
        screen.press(" ")
        screen.read_until_shown(is_whole, f"a whole screen of {columns + 30}x{lines + 3}")
        if not screen.emulator.cursor.hidden:
            raise Failure("the cursor is shown")
        screen.press("q")
        _, status, _ = screen.end()
        if status != 0 or any(screen.lines) or screen.emulator.cursor.hidden:
            raise Failure(f"status {status}; left behind:\n" + "\n".join(screen.lines))
