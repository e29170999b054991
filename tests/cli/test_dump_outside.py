# SPDX-License-Identifier: Apache-2.0
"""`mallard dump` of a process with mallard is taken from outside: the same report, and the process notices nothing."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.backends import matrix
from support.report_check import ledger_faults
from support.report_schema import expanded, faults_of

from .control import HOLDER, library
from .harness import Checked, Failure, Skip, Test
from .test_inspect import HEAP
from .waits import KINDS
from .waits import SOURCE as WAITS

# Threads that allocate, free, map and unmap all the time, and other threads that come and go.
CHANGES = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static void* once(void* unused) { free(malloc(100)); return unused; }
static void* change(void* given) {
  enum { kBlocks = 5000 };
  char** blocks = calloc(kBlocks, sizeof *blocks);
  unsigned seed = *(unsigned*)given;
  for (unsigned i = 0;; ++i) {
    seed = seed * 1664525u + 1013904223u;
    char** block = &blocks[(seed >> 4) % kBlocks];
    size_t bytes = 1 + (seed >> 8) % (i % 1000 ? 3000 : 1000000);
    free(*block);
    *block = memset(malloc(bytes), 1, bytes);
    if (i % 5000 == 0) {
      void* p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      memset(p, 1, 4096);
      munmap(p, 1 << 20);
      pthread_t thread;
      pthread_create(&thread, NULL, once, NULL);
      pthread_join(thread, NULL);
    }
  }
}
int main(void) {
  static unsigned seeds[] = {1, 2};
  pthread_t thread;
  pthread_create(&thread, NULL, change, &seeds[0]);
  puts("up");
  fflush(stdout);
  change(&seeds[1]);
}
"""

# Becomes itself again and again, or ends.
BECOMES = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char** argv) {
  (void)argc;
  if (strcmp(argv[1], "first") == 0) { puts("up"); fflush(stdout); argv[1] = "again"; }
  for (int i = 0; i < 2000; ++i) memset(malloc(5000), 1, 5000);
  usleep(100000);
  execv("/proc/self/exe", argv);
  return 1;
}
"""


def start(t: Test, source: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    program = t.compile("host", "-pthread", source=source)
    return t.start(program, *arguments, env={"LD_PRELOAD": library(t)} | env)


def dump(t: Test, pid: int, *options: str) -> Checked:
    return t.run("dump", "--timeout", "100", str(pid), *options)


def report_of(done: Checked, reason: str = "dump") -> dict:
    if done.status != 0:
        raise Failure(f"status {done.status}: {done.stderr}")
    report = json.loads(done.stdout)
    if report["reason"] != reason:
        raise Failure(f"reason {report['reason']}, not {reason}: {done.stderr}")
    if faults_of(report):
        raise Failure(f"against the schema: {faults_of(report)}")
    return report


def is_readable(t: Test, pid: int) -> None:
    """Yama may keep the memory of another process for root."""
    if "cannot be looked into" in t.run("inspect", str(pid)).stderr:
        raise Skip("this user may not read the memory of other processes")


def lines_of(report: dict) -> dict[str, int]:
    return {line["cause"]: line["bytes"] for line in report["ledger"]}


def sites_of(report: dict) -> dict[int, dict]:
    return {site["id"]: site for site in expanded(report)["sites"]}


def stack_of(report: dict, site: dict) -> list:
    return [frame["pc"] if isinstance(frame, dict) else frame for frame in site["stack"]]


def value(figure: object) -> float:
    found = figure["value"] if isinstance(figure, dict) else figure
    return float(found or 0)


FIGURES = ("live_bytes", "live_count", "allocated_bytes", "allocated_count", "resident_bytes", "hole_bytes", "peak_bytes",
           "at_peak_bytes", "temporary_count")


def compare(outside: dict, inside: dict) -> list[str]:
    """What differs by more than a hundredth. A report from inside has a thread, an arena and pages of its own code."""
    wrong = []
    rss = inside["rss"]["total_bytes"]
    own = {"files": 4 << 20, "own": 1 << 20, "file_copies": 1 << 20, "stacks": 64 << 10, "metadata": 512 << 10}
    for cause, bytes_inside in lines_of(inside).items():
        off = abs(lines_of(outside)[cause] - bytes_inside)
        if off > max(0.01 * rss, own.get(cause, 0)):
            wrong.append(f"{cause}: {lines_of(outside)[cause]} outside, {bytes_inside} inside")
    there = sites_of(outside)
    leading = sorted(sites_of(inside).values(), key=lambda s: -value(s["live_bytes"]))[:20]
    for site in leading:
        if site["id"] not in there:
            if value(site["live_bytes"]) > 4096:  # the reporter's thread has a block of libc's
                wrong.append(f"site {site['id']} is not there")
            continue
        other = there[site["id"]]
        if stack_of(outside, other) != stack_of(inside, site):
            wrong.append(f"site {site['id']} has another stack")
        for figure in FIGURES:
            ours, theirs = value(other.get(figure)), value(site.get(figure))
            # Free blocks in jemalloc's thread caches are told by its statistics, and look live from outside.
            part = 0.02 if figure == "hole_bytes" and inside["backend"]["name"] == "jemalloc" else 0.01
            if abs(ours - theirs) > max(part * theirs, 16384 if figure.endswith("bytes") else 8):
                wrong.append(f"{figure} of site {site['id']}: {ours} outside, {theirs} inside")
    for what in ("name", "version", "path", "requested", "served"):
        if outside["backend"][what] != inside["backend"][what]:
            wrong.append(f"backend's {what}: {outside['backend'][what]}, {inside['backend'][what]}")
    for whose in (outside, inside):
        whose["carried"] = sorted(str([a[what] for what in ("object", "name", "version", "recognised_by", "status", "why",
                                                            "next_step")]) for a in whose["embedded_allocators"])
    if outside["carried"] != inside["carried"]:
        wrong.append(f"other allocators: {outside['carried']}, {inside['carried']}")
    if outside["verdict"]["cause"] != inside["verdict"]["cause"]:
        wrong.append(f"verdict {outside['verdict']['cause']}, {inside['verdict']['cause']}")
    return wrong + [f"{c['name']} failed: {c}" for c in outside["checks"] if c["state"] == "failed"]


@pytest.mark.parametrize("mode", ["sample", "exact"])
@pytest.mark.parametrize("backend", ["system", "jemalloc", "mimalloc2", "mimalloc3", "tcmalloc"])
@pytest.mark.timeout(120)
def test_it_is_the_report_that_the_process_would_write(t: Test, backend: str, mode: str) -> None:
    row = next(b for b in matrix(t.mallard.parent) if b.name == backend)
    if row.missing:
        raise Skip(row.missing)
    process = start(t, HEAP, ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="65536", ALLOC_BACKEND=row.value)
    is_readable(t, process.pid)
    outside = report_of(dump(t, process.pid, "--json"))
    inside = report_of(dump(t, process.pid, "--json", "--by-signal"), "signal")
    if outside["recording"]["mode"] != mode:
        raise Failure(outside["recording"]["mode"])
    if wrong := compare(outside, inside) + ledger_faults(outside):
        raise Failure("; ".join(wrong))


def test_a_program_of_debians_reports_the_same(t: Test) -> None:
    program = shutil.which("python3")
    assert program
    code = ("import json, signal; kept = [json.dumps(list(range(i))) for i in range(2000)]; print('up', flush=True)\n"
            "while True: signal.pause()")
    process = t.start(program, "-c", code, env={"LD_PRELOAD": library(t)})
    is_readable(t, process.pid)
    outside = report_of(dump(t, process.pid, "--json"))
    if wrong := compare(outside, report_of(dump(t, process.pid, "--json", "--by-signal"), "signal")):
        raise Failure("; ".join(wrong))


@pytest.mark.timeout(120)
def test_no_wait_is_disturbed(t: Test) -> None:
    program = t.compile("waits", "-pthread", source=WAITS)
    processes = {kind: t.start(program, kind, env={"LD_PRELOAD": library(t)}) for kind in KINDS}
    plain = {kind: t.start(program, kind) for kind in KINDS}
    reports = 0
    for process in processes.values():
        if process.poll() is None:
            done = dump(t, process.pid, "--json")
            reports += done.status == 0 and json.loads(done.stdout)["reason"] == "dump"
    said = {kind: process.communicate()[0].decode() for kind, process in processes.items()}
    expected = {kind: process.communicate()[0].decode() for kind, process in plain.items()}
    if said != expected or any("EARLY" in words for words in said.values()):
        raise Failure("; ".join(f"{k}: {said[k]!r}, bare {expected[k]!r}" for k in KINDS if said[k] != expected[k]))
    if reports < len(KINDS) / 2:
        raise Failure(f"{reports} reports of {len(KINDS)} processes")


def threads_and_files(pid: int) -> tuple[list[str], dict[str, str], str]:
    folder = Path(f"/proc/{pid}")
    files = {entry.name: os.readlink(entry) for entry in (folder / "fd").iterdir()}
    return sorted(os.listdir(folder / "task")), files, (folder / "maps").read_text()


def test_nothing_is_left_in_the_process(t: Test) -> None:
    for mode in ("sample", "exact", "off"):
        process = start(t, HEAP, ALLOC_MODE=mode)
        is_readable(t, process.pid)
        before = threads_and_files(process.pid)
        for _ in range(3):
            report_of(dump(t, process.pid, "--json"))
        if threads_and_files(process.pid) != before:
            raise Failure(f"{mode}: {before} became {threads_and_files(process.pid)}")


@pytest.mark.parametrize("mode", ["sample", "exact"])
@pytest.mark.timeout(180)
def test_a_heap_that_changes_all_the_time(t: Test, mode: str) -> None:
    process = start(t, CHANGES, ALLOC_MODE=mode)
    is_readable(t, process.pid)
    for _ in range(10):
        report = report_of(dump(t, process.pid, "--json"))
        if wrong := ledger_faults(report):
            raise Failure("; ".join(wrong))
    if process.poll() is not None:
        raise Failure(f"it ended with {process.returncode}")


@pytest.mark.timeout(120)
def test_a_process_that_becomes_another_one(t: Test) -> None:
    process = start(t, BECOMES, "first")
    is_readable(t, process.pid)
    for _ in range(20):
        done = dump(t, process.pid, "--json")
        if done.status == 0:
            report_of(done, json.loads(done.stdout)["reason"])
        elif done.status != 3 or done.stderr.count("\n") > 3:
            raise Failure(f"status {done.status}: {done.stderr}")


def test_a_process_that_ends_meanwhile(t: Test) -> None:
    for _ in range(10):
        process = start(t, HEAP)
        with subprocess.Popen([t.mallard, "dump", "--json", str(process.pid)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as command:
            time.sleep(0.01)
            process.kill()
            process.wait()
            _, said = command.communicate(timeout=60)
        if command.returncode not in (0, 3) or said.count("\n") > 2:
            raise Failure(f"status {command.returncode}: {said}")


def test_a_process_that_no_signal_reaches(t: Test) -> None:
    blocking = HOLDER.replace('puts("up")', 'sigset_t set; sigfillset(&set); sigprocmask(SIG_BLOCK, &set, NULL); puts("up")')
    for source, env in ((blocking, {}), (HOLDER, {"ALLOC_SIGNAL": "none"})):
        process = start(t, source, **env)
        is_readable(t, process.pid)
        if not report_of(dump(t, process.pid, "--json"))["recording"]["samples"]:
            raise Failure("no call sites")
    stopped = start(t, HOLDER)
    stopped.send_signal(signal.SIGSTOP)
    report_of(dump(t, stopped.pid, "--json"))
    t.expect(dump(t, stopped.pid, "--by-signal"), 3, error=f"let it go on: kill -CONT {stopped.pid}")


# Keeps 8 MB and frees 60 MB in each step, from a function of its own.
GROWS = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void once(int number) { (void)number; }
__attribute__((noinline)) void keep(void) { memset(malloc(4000), 1, 4000); }
int main(void) {
  struct sigaction action = {0};
  sigset_t none, go;
  action.sa_handler = once;
  sigaction(SIGUSR1, &action, NULL);
  sigemptyset(&none);
  sigemptyset(&go);
  sigaddset(&go, SIGUSR1);
  sigprocmask(SIG_BLOCK, &go, NULL);
  for (;;) {
    for (int i = 0; i < 2000; ++i) keep();
    for (int i = 0; i < 20000; ++i) free(malloc(3000));
    puts("up");
    fflush(stdout);
    sigsuspend(&none);
  }
}
"""


def test_growth_is_told_between_reports(t: Test) -> None:
    process = start(t, GROWS, XDG_RUNTIME_DIR=str(t.dir))
    is_readable(t, process.pid)
    folder = t.dir / "runtime"
    folder.mkdir()
    kept = folder / "mallard" / str(process.pid)
    for number in range(6):
        done = t.run("dump", "--json", str(process.pid), env={"XDG_RUNTIME_DIR": str(folder)})
        report = report_of(done)
        if report["history"]["earlier_reports"] != number or not kept.exists() or kept.stat().st_mode & 0o77:
            raise Failure(f"of {number} earlier reports: {report['history']['earlier_reports']}, {kept.exists()}")
        process.send_signal(signal.SIGUSR1)
        assert process.stdout
        process.stdout.readline()
    if report["verdict"]["cause"] != "leak" or "keep" not in json.dumps(report["verdict"]):
        raise Failure(f"verdict {report['verdict']}")
    # The process's own reports are later now, and it knows of no others.
    for number in range(2):
        own = report_of(dump(t, process.pid, "--json", "--by-signal"), "signal")
        if own["history"]["earlier_reports"] != number:
            raise Failure(f"the process remembers {own['history']['earlier_reports']} reports")
    done = t.run("dump", "--json", str(process.pid), env={"XDG_RUNTIME_DIR": str(folder)})
    if report_of(done)["history"]["earlier_reports"] != 2:
        raise Failure("the command goes on from an older report")
    process.kill()
    process.wait()
    other = start(t, HOLDER)
    report_of(t.run("dump", "--json", str(other.pid), env={"XDG_RUNTIME_DIR": str(folder)}))
    if kept.exists():
        raise Failure("what is remembered of a process that has ended is there")


def test_times_of_calls_are_read_too(t: Test) -> None:
    process = start(t, HEAP, ALLOC_LATENCY="1")
    is_readable(t, process.pid)
    outside = report_of(dump(t, process.pid, "--json"))["latency"]
    inside = report_of(dump(t, process.pid, "--json", "--by-signal"), "signal")["latency"]
    timed = [{row["operation"]: row["timed"] for row in r["calls"] if row["all_sizes"]} for r in (outside, inside)]
    if not timed[0] or outside["clock"] != inside["clock"] or outside["every"] != inside["every"]:
        raise Failure(f"{outside}; inside {inside}")
    for operation, calls in timed[0].items():
        if abs(calls - timed[1].get(operation, 0)) > 100:  # those that the report makes
            raise Failure(f"{operation}: {calls} outside, {timed[1]} inside")


def test_files_are_the_users_of_the_process(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    t.dir.chmod(0o755)
    place = t.dir / "theirs"
    place.mkdir()
    os.chown(place, 65534, 65534)
    program = t.compile("host", source=HOLDER)
    copy = shutil.copy(library(t), t.dir)  # the build may lie where only root gets to
    process = t.start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program,
                      env={"LD_PRELOAD": str(copy), "ALLOC_REPORT": str(place / "r.%n")})
    t.expect(dump(t, process.pid), 0, error=f"mallard: {place}/r.0001.json (and .txt)")
    for name in ("r.0001.json", "r.0001.txt"):
        facts = (place / name).stat()
        if (facts.st_uid, facts.st_mode & 0o777) != (65534, 0o600):
            raise Failure(f"{name}: user {facts.st_uid}, mode {facts.st_mode:o}")


def test_a_report_without_a_place_is_printed(t: Test) -> None:
    process = start(t, HOLDER, ALLOC_REPORT="too-long" * 40)
    is_readable(t, process.pid)
    done = dump(t, process.pid)
    t.expect(done, 0, "Call sites by resident memory", error="the report is in no file: report '")


def test_another_build_is_asked_by_its_signal(t: Test) -> None:
    """A process goes on with the library that it was started with, after an upgrade of the command."""
    data = Path(library(t)).read_bytes()
    at = data.find(b"trend\0\0")  # the name of a part
    other = t.dir / "libmallard.so"
    other.write_bytes(data[:at] + b"tiend" + data[at + 5:])
    process = t.start(t.compile("host", source=HOLDER), env={"LD_PRELOAD": str(other)})
    report_of(dump(t, process.pid, "--json"), "signal")
