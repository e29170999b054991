# SPDX-License-Identifier: Apache-2.0
"""`mallard inspect`: processes that run without mallard, looked at from outside."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.backends import matrix
from support.report_schema import faults_of

from .control import HOLDER, library
from .harness import Checked, Failure, Skip, Test

# Live blocks, holes that they pin, free pages behind them, large blocks, and arenas of other threads.
HEAP = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { kBlocks = 40000 };
static void* fill(void* unused) {
  static _Thread_local char* blocks[kBlocks];
  for (int i = 0; i < kBlocks; i++) memset(blocks[i] = malloc(300 + i % 700), i, 300 + i % 700);
  for (int i = 0; i < kBlocks; i++)
    if (i > kBlocks / 2 || i % 5) free(blocks[i]);
  if (unused) pause();
  return unused;
}
int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, fill, "x");
  fill(NULL);
  memset(malloc(10 << 20), 1, 10 << 20);
  sleep(1);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""
# What HEAP keeps, as requested.
HEAP_LIVE = 3 * sum(300 + i % 700 for i in range(20001) if i % 5 == 0) + (10 << 20)
HEAP_LINES = ("live", "holes", "retained", "metadata")


def start(t: Test, *command: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process whose memory this user may read: Yama may keep that for root."""
    process = t.start(*command, env=env)
    refused = re.search("cannot be looked into: (.*)", t.run("inspect", str(process.pid)).stderr)
    if refused:
        raise Skip(refused[1])
    return process


def inspect(t: Test, pid: int, *options: str) -> dict:
    done = t.run("inspect", "--json", str(pid), *options)
    if done.status != 0 or done.stderr:
        raise Failure(f"status {done.status}: {done.stderr}")
    report = json.loads(done.stdout)
    if faults_of(report):
        raise Failure(f"against the schema: {faults_of(report)}")
    return report


def lines_of(report: dict) -> dict[str, int]:
    return {line["cause"]: line["bytes"] for line in report["ledger"]}


def kilobytes(pid: int, field: str) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", rollup, re.M)[1]) * 1024


def expect_near(what: str, one: float, other: float, whole: float, share: float = 0.01) -> None:
    if abs(one - other) > share * whole:
        raise Failure(f"{what}: {one / 1e6:.2f} and {other / 1e6:.2f} MB, of {whole / 1e6:.2f}")


def expect_closed(pid: int, report: dict) -> None:
    rss = kilobytes(pid, "Rss")
    expect_near("the lines and Rss", sum(lines_of(report).values()), rss, rss)
    if report["reason"] != "inspection" or report["recording"]["mode"] != "off" or report["sites"]:
        raise Failure(f"{report['reason']}, {report['recording']['mode']}, {len(report['sites'])} sites")


def test_a_heap_of_glibc_is_divided(t: Test) -> None:
    pid = start(t, t.compile("heap", "-pthread", source=HEAP)).pid
    report = inspect(t, pid)
    expect_closed(pid, report)
    lines = lines_of(report)
    expect_near("live blocks", lines["live"], HEAP_LIVE, HEAP_LIVE, 0.05)  # rounding included
    if lines["holes"] < 10e6 or lines["retained"] == 0 or lines.get("undivided", 0):
        raise Failure(f"{lines}")
    if not report["backend"]["version"].startswith("glibc 2."):
        raise Failure(f"{report['backend']}")
    t.expect(t.run("inspect", str(pid)), 0, f"inspection of heap, pid {pid},", "serves malloc           system glibc",
             "all figures: mallard inspect --full")
    t.expect(t.run("inspect", "--full", str(pid)), 0, "stacks", "threads 'heap', 2")


def expect_agreement(t: Test, backend: str) -> None:
    """Each line of the heap is the same for who looks from inside and from outside, but that only inside tells what of
    it threads keep free for themselves."""
    row = next(b for b in matrix(t.mallard.parent) if b.name == backend)
    if row.missing:
        raise Skip(row.missing)
    env = {"LD_PRELOAD": library(t), "ALLOC_BACKEND": row.value, "ALLOC_MODE": "off"}
    pid = start(t, t.compile("heap", "-pthread", source=HEAP), env=env).pid
    report = json.loads(t.run("dump", "--json", str(pid)).stdout)
    if report["backend"]["name"] != backend.rstrip("23"):
        raise Skip(f"there is no {backend} here")
    found = inspect(t, pid)
    if found["backend"]["name"] != report["backend"]["name"]:
        raise Failure(f"{found['backend']}, not divided: {found['ledger_about']['not_divided_why']}")
    inside, outside = lines_of(report), lines_of(found)
    whole = sum(inside[line] for line in HEAP_LINES)
    cached = report["ledger_about"]["thread_cached_bytes"] - found["ledger_about"]["thread_cached_bytes"]
    inside["live"] += cached
    inside["holes"] -= cached
    for line in HEAP_LINES:
        expect_near(f"{line}, cached {cached}", inside[line], outside[line], whole)


def test_inside_and_outside_agree_about_glibc(t: Test) -> None:
    expect_agreement(t, "system")


def test_inside_and_outside_agree_about_jemalloc(t: Test) -> None:
    expect_agreement(t, "jemalloc")


def test_inside_and_outside_agree_about_mimalloc(t: Test) -> None:
    expect_agreement(t, "mimalloc2")


def test_inside_and_outside_agree_about_mimalloc_3(t: Test) -> None:
    expect_agreement(t, "mimalloc3")


def test_inside_and_outside_agree_about_tcmalloc(t: Test) -> None:
    expect_agreement(t, "tcmalloc")


def test_all_processes_have_a_line(t: Test) -> None:
    pid = start(t, t.compile("heap", "-pthread", source=HEAP)).pid
    done = t.run("inspect", "--all")
    rows = [line.split() for line in done.stdout.splitlines()]
    mine = [row for row in rows if row[0] == str(pid)]
    if done.status != 0 or len(mine) != 1 or mine[0][1] != "heap" or not mine[0][3].endswith("M"):
        raise Failure(f"{done}")
    if any(len(line) > 80 for line in done.stdout.splitlines()):
        raise Failure("a line has more than 80 columns")
    t.expect(t.run("inspect"), 2, error="PID|NAME|CORE is required")
    for words in (["--all", "--json"], ["--all", "--html", "x"], ["--all", "--fail-on", "rss>1"], ["--all", "--leaks"],
                  ["--all", "--exe", "x"], ["--json", "--html", "x", str(pid)]):
        expect_one_line(t.run("inspect", *words), "excludes")


def test_a_program_without_a_heap_is_said_to_have_none(t: Test) -> None:
    source = '#include <unistd.h>\nint main(void) { return write(1, "up\\n", 3) == 3 ? pause() : 1; }\n'
    report = inspect(t, start(t, t.compile("no_heap", source=source)).pid)
    if report["ledger_about"]["not_divided_why"] != "no heap was found":
        raise Failure(f"{report['ledger_about']} {report['backend']}")


def test_python_closes(t: Test) -> None:
    code = "import time; x = [bytearray(3000) for _ in range(20000)][::3]; print('up', flush=True); time.sleep(600)"
    pid = start(t, sys.executable, "-c", code).pid
    expect_closed(pid, inspect(t, pid))


def test_a_static_program_is_divided(t: Test) -> None:
    pid = start(t, t.compile("still", "-pthread", "-static", source=HEAP)).pid
    report = inspect(t, pid)
    expect_closed(pid, report)
    lines = lines_of(report)
    if lines["holes"] < 10e6:
        raise Failure(f"{report['backend']}: {lines}")
    # With several arenas one layout of glibc may look like another.
    expect_near("live blocks", lines["live"], HEAP_LIVE, HEAP_LIVE, 0.05)


def test_dump_of_a_process_without_mallard_is_an_inspection(t: Test) -> None:
    pid = start(t, t.compile("holder", source=HOLDER)).pid
    for words in (["dump", str(pid)], [str(pid)]):
        t.expect(t.run(*words), 0, f"inspection of holder, pid {pid}", "Where the resident memory is",
                 error=f"mallard: process {pid} was not started with mallard: it is looked at from outside\n")
    t.expect(t.run("dump", "--purge", str(pid)), 3, error=f"libmallard.so is not loaded in process {pid}")


def test_formats_and_conditions(t: Test) -> None:
    pid = start(t, t.compile("heap-by-name", "-pthread", source=HEAP)).pid
    t.expect(t.run("inspect", "heap-by-name", "--fail-on", "rss>1M"), 1, "inspection of heap-by-name", error="rss>1M")
    (t.dir / "report.json").write_text(t.run("inspect", "--json", str(pid)).stdout)
    t.expect(t.run("report", "report.json"), 0, "inspection of heap-by-name")
    done = t.run("inspect", "--html", "page.html", str(pid))
    if "was built without" not in done.stderr and not (t.dir / "page.html").read_text().startswith("<!"):
        raise Failure("page.html is no page")


def expect_one_line(done: Checked, *parts: str) -> None:
    """A refusal: one line of what, at most one of how to go on."""
    lines = done.stderr.splitlines()
    if done.status not in (2, 3) or done.stdout or not lines or len(lines) > 2 or \
            not all(part in done.stderr for part in parts):
        raise Failure(f"status {done.status}: {done.stdout[:200]!r} {done.stderr!r}")


def test_what_has_no_memory_is_refused(t: Test) -> None:
    ended = t.start("sh", "-c", "echo up")
    while "Z" not in Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        time.sleep(0.01)
    expect_one_line(t.run("inspect", str(ended.pid)), "has ended")
    ended.wait()
    expect_one_line(t.run("inspect", str(ended.pid)), "No such process")
    second = Path("/proc/2/comm")
    if second.exists() and second.read_text() == "kthreadd\n":  # not in a process namespace of its own
        expect_one_line(t.run("inspect", "2"), "is a thread of the kernel")
    expect_one_line(t.run("inspect", "no-such-program"), "no process is called")


def test_one_that_is_ending_is_no_thread_of_the_kernel(t: Test) -> None:
    """Killed, it has no memory for a while, and is no zombie yet."""
    for _ in range(3):
        large = t.start(sys.executable, "-c", "import time; x = b'1' * (400 << 20); print('up', flush=True); "
                        "time.sleep(1000)")
        large.kill()
        done = t.run("inspect", str(large.pid))
        if "kernel" in done.stderr:
            raise Failure(done.stderr)


def test_another_users_process_is_refused(t: Test) -> None:
    if os.geteuid() != 0:
        raise Skip("only root can become somebody else")
    pid = start(t, t.compile("holder", source=HOLDER)).pid
    try:
        done = subprocess.run([t.mallard, "inspect", str(pid)], capture_output=True, text=True, user=65534, group=65534,
                              extra_groups=[], cwd="/", check=False)
    except PermissionError:
        raise Skip("the build lies where another user does not get to") from None
    expect_one_line(Checked(done.returncode, done.stdout, done.stderr), f"process {pid} ('holder') cannot be looked at",
                    "sudo")


def test_a_stopped_process_is_inspected(t: Test) -> None:
    pid = start(t, t.compile("heap", "-pthread", source=HEAP)).pid
    os.kill(pid, signal.SIGSTOP)
    expect_closed(pid, inspect(t, pid))


CHANGING = """
import mmap, os, sys
print("up", flush=True)
kept = []
while True:
    kept.append(mmap.mmap(-1, 4096 * 64))
    kept[-1].write(b"x" * 4096 * 64)
    if len(kept) > 500: del kept[:400]
"""
EXECUTING = "import os, sys; print('up', flush=True); x = bytearray(30 << 20); os.execv(sys.executable, sys.orig_argv)"


def test_processes_that_change_meanwhile(t: Test) -> None:
    """Mappings that come and go, a program that becomes another all the time, one that is killed in the middle: an
    answer or one line, and never long."""
    for code in (CHANGING, EXECUTING):
        process = t.start(sys.executable, "-c", code)
        for _ in range(5):
            began = time.monotonic()
            done = t.run("inspect", "--json", str(process.pid))
            if done.status == 0:
                json.loads(done.stdout)
            else:
                expect_one_line(done, f"process {process.pid}")
            if time.monotonic() - began > 20:
                raise Failure(f"{time.monotonic() - began:.0f} s")
    for delay in (0, 0.005, 0.02, 0.05):
        process = t.start(t.compile("heap", "-pthread", source=HEAP))
        looking = subprocess.Popen([t.mallard, "inspect", str(process.pid)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        process.kill()
        process.wait()
        out, error = looking.communicate(timeout=30)
        if looking.returncode != 0:
            expect_one_line(Checked(looking.returncode, out, error), f"process {process.pid}")


# Small blocks lie in groups within groups, larger ones in groups of their own, the largest are mapped alone.
ON_MUSL = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { kBlocks = 120000 };
static char* blocks[kBlocks];
static size_t size_of(int i) { return i % 3000 == 0 ? 200000 : i % 100 == 0 ? 9000 : 20 + i % 600; }
int main(int count, char** words) {
  int one_in = words[1][0] - '0';
  for (int i = 0; i < kBlocks; i++) memset(blocks[i] = malloc(size_of(i)), 1, size_of(i));
  for (int i = 0; i < kBlocks; i++)
    if (i % one_in) free(blocks[i]);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_a_heap_of_musl_is_divided(t: Test) -> None:
    """What Alpine's programs have, linked dynamically or not: live blocks are those of the program, with less than a
    quarter of rounding, and there are holes where seven of eight blocks are gone."""
    for options in ((), ("-static",)):
        program = t.compile("on_musl", *options, source=ON_MUSL, compiler="musl-gcc")
        for one_in in (1, 8):
            truth = sum(200000 if i % 3000 == 0 else 9000 if i % 100 == 0 else 20 + i % 600 for i in range(0, 120000, one_in))
            pid = start(t, program, str(one_in)).pid
            report = inspect(t, pid)
            expect_closed(pid, report)
            lines, what = lines_of(report), f"{options}, one in {one_in}, {truth} bytes live: {report['backend']}"
            if report["backend"]["name"] != "musl" or not truth <= lines["live"] <= 1.25 * truth:
                raise Failure(f"{what}, {lines}")
            if (lines["holes"] > truth) != (one_in > 1):
                raise Failure(f"{what}, {lines}")
            verdict = report["verdict"]
            if (verdict["cause"] == "external_fragmentation") != (one_in > 1) or "mallard run" in verdict["next_step"]:
                raise Failure(f"{what}, {verdict}")


ON_GO = """
package main

import ("fmt"; "time")

var kept [][]byte

func main() {
	for i := 0; i < 120000; i++ {
		kept = append(kept, make([]byte, 1000))
		kept[i][i%1000] = 1
	}
	fmt.Println("up")
	time.Sleep(time.Hour)
	fmt.Println(len(kept))
}
"""


def test_the_heap_of_go_is_a_runtimes(t: Test) -> None:
    """Whether its symbols are there or not; nothing of it is called memory past malloc."""
    go = shutil.which("go")
    if not go:
        raise Skip("there is no go")
    (t.dir / "kept.go").write_text(ON_GO)
    for flags in ("", "-s -w"):
        env = {**os.environ, "HOME": str(t.dir), "GOFLAGS": "", "CGO_ENABLED": "0"}
        done = subprocess.run([go, "build", f"-ldflags={flags}", "-o", "on_go", "kept.go"], cwd=t.dir, env=env,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"go cannot build here: {done.stderr[-200:]}")
        pid = start(t, t.dir / "on_go").pid
        report = inspect(t, pid)
        expect_closed(pid, report)
        if [finding["cause"] for finding in report["findings"]] != ["runtime_heap"]:
            raise Failure(f"{flags}: {report['findings']}")
