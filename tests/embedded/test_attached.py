# SPDX-License-Identifier: Apache-2.0
"""`mallard attach` to programs whose executable has the allocator inside: its entry points lead to what is loaded, and
back."""
from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.framework import Finished, Test, wait_until
from support.marks import extra, group
from support.reports import Report

from .programs import EXTRA_VARIANTS, VARIANTS, case, rust_program, whose
from .test_observed import FLAGS, from_outside, functions, require_same_books

# How often: a few times in CI, 50 times each with --extra.
TIMES = [3, pytest.param(50, marks=[extra, pytest.mark.timeout(1200)])]


def command(t: Test, *words: str | int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([t.build / "mallard", *map(str, words)], capture_output=True, text=True, timeout=200, check=False,
                          env=t.plain_env())
    if "without a disassembler" in done.stderr:
        t.skip("this build has no disassembler (scripts/get-zydis)")
    return done


def attach(t: Test, pid: int, *options: str) -> str:
    done = command(t, "attach", *options, pid)
    t.equal(done.returncode, 0, f"attach: {done.stderr}")
    return done.stdout


def detach(t: Test, pid: int) -> str:
    done = command(t, "detach", pid)
    t.equal(done.returncode, 0, f"detach: {done.stderr}")
    return done.stdout


def require_refused(t: Test, pid: int, why: str) -> None:
    done = command(t, "attach", pid)
    t.check(done.returncode == 3 and re.search(rf"^mallard: error: process {pid} .*is left as it is: .*{why}", done.stderr),
            f"expected a refusal for {why!r}, status {done.returncode}: {done.stdout}{done.stderr}")
    t.check(len(done.stderr.splitlines()) <= 2 and not done.stdout, f"not one line and a hint: {done.stderr}")


def start(t: Test, *words: str | Path, until: str, label: str = "") -> subprocess.Popen[bytes]:
    process = t.start([*words], t.plain_env(), label=label, stdin=subprocess.PIPE)
    wait_until(lambda: until in t.output_of(process) or process.poll() is not None, 30, f"the program to say '{until}'")
    return process


def code_of(pid: int, program: Path) -> bytes:
    """What the program's code is in memory."""
    found = b""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            fields = line.split()
            if len(fields) > 5 and fields[5] == str(program) and "x" in fields[1]:
                begin, end = (int(word, 16) for word in fields[0].split("-"))
                memory.seek(begin)
                found += memory.read(end - begin)
    assert found
    return found


@pytest.mark.parametrize("name", FLAGS)
def test_every_call_counts_once(t: Test, name: str) -> None:
    """Against the program's own books, to the byte; and each byte of its code is as it was afterwards."""
    program = case(t, "inner_calls.c", *FLAGS[name], output=f"inner_{name}")
    process = start(t, program, "hold", "later", until="waiting")
    before = code_of(process.pid, program)
    said = attach(t, process.pid, "--mode", "exact")
    t.check(re.search(r"recorded in mode exact, by 8 entry points of its own malloc inside the executable; malloc is the "
                      r"program's own\n$", said), f"what attach says: {said}")
    t.check(code_of(process.pid, program) != before, "no jump was written")
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()
    wait_until(lambda: "ready" in t.output_of(process), 30, "the program to be ready")
    report = from_outside(t, process.pid)
    require_same_books(t, Finished(process.pid, 0, t.output_of(process), ""), report, name)
    said = detach(t, process.pid)
    t.check("8 entry points inside the executable are as they were" in said, f"what detach says: {said}")
    t.equal(code_of(process.pid, program), before, "the program's code")
    process.communicate(b"go\n")
    t.finish(process)


def test_the_room_beside_the_code_is_made_once(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="watched_pie")
    process = start(t, program, "hold", until="ready")

    def mappings() -> list[str]:
        return [line.split()[0] for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines() if "r-xp 00000000 00:00 0" in line]

    before = mappings()
    for mode in ("sample", "exact", "sample"):
        attach(t, process.pid, "--mode", mode)
        attach(t, process.pid, "--mode", "exact")  # switches
        t.equal(len(mappings()), len(before) + 1, "mappings of code without a file")
        detach(t, process.pid)
    t.check("is not attached to" in command(t, "detach", process.pid).stderr, "it is attached to")
    process.communicate(b"go\n")
    t.finish(process)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", ["pie", "unoptimised"])
def test_under_load(t: Test, name: str, times: int) -> None:
    """Threads are in the allocator all the time, some of them in a signal's handler; all blocks stay what they were."""
    program = case(t, "churn.c", *FLAGS[name], output=f"churn_{name}")
    process = start(t, program, until="up")
    before = code_of(process.pid, program)
    for i in range(times):
        attach(t, process.pid, "--mode", ("sample", "exact")[i % 2])
        time.sleep(0.02 * (i % 8))
        detach(t, process.pid)
    t.equal(code_of(process.pid, program), before, "the program's code")
    process.send_signal(signal.SIGTERM)
    done = t.finish(process)
    rounds, bad, _ = (int(number) for number in re.findall(r"\d+", done.stdout))
    t.check(rounds > times and bad == 0, f"{rounds} rounds, {bad} blocks of them wrong")


@pytest.mark.timeout(200)
def test_the_command_is_killed(t: Test) -> None:
    """After each of its writes into the process, which goes on; what is left of it, `mallard detach` puts back."""
    program = case(t, "churn.c", *FLAGS["pie"], output="churn_pie")
    shim = case(t, "killed_writer.c", "-D_GNU_SOURCE", "-shared", "-fPIC", output="killed_writer.so")
    process = start(t, program, until="up")
    before = code_of(process.pid, program)
    left = 0
    for number in range(1, 500):
        done = subprocess.run([t.build / "mallard", "attach", str(process.pid)], capture_output=True, text=True, timeout=60,
                              check=False, env=t.plain_env() | {"LD_PRELOAD": str(shim), "KILLED_AT": str(number)})
        if "without a disassembler" in done.stderr:
            t.skip("this build has no disassembler (scripts/get-zydis)")
        if done.returncode != -signal.SIGKILL:
            break
        t.check(process.poll() is None, f"the program ended when the command was killed after write {number}")
        left += code_of(process.pid, program) != before
        done = command(t, "detach", process.pid)
        t.check(done.returncode == 0 or "is not attached to" in done.stderr, f"detach after write {number}: {done.stderr}")
        t.equal(code_of(process.pid, program), before, f"the program's code, the command killed after write {number}")
    t.equal(done.returncode, 0, f"attach in the end: {done.stderr}")
    t.check(number > 10 and left > 3, f"killed {number - 1} times, {left} times with jumps in the code")
    detach(t, process.pid)
    process.send_signal(signal.SIGTERM)
    done = t.finish(process)
    rounds, bad, _ = (int(word) for word in re.findall(r"\d+", done.stdout))
    t.check(rounds > number and bad == 0, f"{rounds} rounds, {bad} blocks of them wrong")


@pytest.mark.parametrize("output, source, flags, why", [
    ("watched_ifunc", "own_allocator.c", ("-DIFUNC",), "memalign is chosen at load time"),
    ("watched_no_free", "own_allocator.c", ("-DNO_FREE",), "malloc without free"),
    ("watched_inlined", "own_allocator.c", ("-DINLINED", "-O2"), "calls take, which only the allocator itself may"),
    ("inner_old_style", "inner_calls.c", ("-DOLD_STYLE",), "free jumps back into the first bytes of free"),
])
def test_refused_as_at_the_start(t: Test, output: str, source: str, flags: tuple[str, ...], why: str) -> None:
    program = case(t, source, "-rdynamic", *flags, output=output)
    process = start(t, program, "hold", until="ready")
    before = code_of(process.pid, program)
    require_refused(t, process.pid, why)
    t.equal(code_of(process.pid, program), before, "the program's code")
    t.check("libmallard-attach.so" not in Path(f"/proc/{process.pid}/maps").read_text(), "something was loaded into it")
    process.communicate(b"go\n")
    t.finish(process)


def functions_with(report: Report, function: str) -> list[dict]:
    return [site for site in report.data["sites"] if any(function in name for name in functions(site))]


@pytest.mark.parametrize("variant", [*VARIANTS, *(pytest.param(name, marks=extra) for name in EXTRA_VARIANTS)])
@pytest.mark.timeout(900)
@group("cargo")
def test_rust(t: Test, variant: str) -> None:
    """mimalloc and jemalloc in a Rust program, and C beside it: exact counts are the program's own, samples are within
    their error of them."""
    program = rust_program(t, variant)
    for mode in ("exact", "sample"):
        process = start(t, program, "later", until="waiting", label=mode)
        before = code_of(process.pid, program)
        said = attach(t, process.pid, "--mode", mode)
        t.check(f" entry points of {whose(variant)} inside the executable" in said, f"what attach says: {said}")
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: "ready" in t.output_of(process), 60, "the program to be ready")
        report = from_outside(t, process.pid)
        rust = functions_with(report, "hold_in_rust")
        live, blocks = (sum(site[key] for site in rust) for key in ("live_bytes", "live_count"))
        if mode == "exact":
            t.equal((live, blocks), (4000 * 5000 + 4000 * 24, 4001), "live bytes and blocks of hold_in_rust")
        else:  # forty samples or so
            t.check(abs(live / 20e6 - 1) < 0.7, f"hold_in_rust has 20 MB live, samples say {live}")
        if mode == "exact":
            t.check(functions_with(report, "mdb_"), "no call site in LMDB's C code is there")
        detach(t, process.pid)
        t.equal(code_of(process.pid, program), before, "the program's code")
        process.communicate(b"go\n")
        t.equal(t.finish(process).stdout.splitlines()[-1], "ok", "what the program says")


BLOCKED = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char memory[1 << 20];
static size_t used;
__attribute__((noinline, noclone)) void* malloc(size_t n) {
  if (n > sizeof memory - 16 - used) abort();
  void* p = memory + used;
  used += (n + 15) & ~(size_t)15;
  return p;
}
__attribute__((noinline, noclone)) void free(void* p) {
  if (p && (char*)p - memory > (long)sizeof memory) abort();
}
__attribute__((noinline, noclone)) void* calloc(size_t a, size_t b) { return malloc(a * b); }
__attribute__((noinline, noclone)) void* realloc(void* p, size_t n) { return p ? abort(), NULL : malloc(n); }
static int ends[2];
static long worst_ms;  // that the beat came late
static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static void* beat(void* p) {
  for (long last = now_ms();;) {
    usleep(1000);
    const long now = now_ms();
    if (now - last > worst_ms) worst_ms = now - last;
    last = now;
  }
  return p;
}
static void* fill(void* p) {
  static const char text[1 << 20];
  const ssize_t n = write(ends[1], text, sizeof text);  // until somebody reads
  printf("wrote %zd\n", n);
  fflush(stdout);
  return p;
}
int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  pthread_t t;
  if (pthread_create(&t, NULL, beat, NULL) || pipe(ends) || pthread_create(&t, NULL, fill, NULL)) return 1;
  usleep(100000);
  puts("up");
  if (getchar() == EOF) return 2;
  printf("worst %ld ms\n", worst_ms);
  for (long left = 1 << 20; left > 0;) {
    static char room[1 << 16];
    const ssize_t n = read(ends[0], room, sizeof room);
    if (n <= 0) return 3;
    left -= n;
  }
  pthread_join(t, NULL);
  if (getchar() == EOF) return 4;
  const pid_t child = fork();  // of a process that is recorded: its calls pass through
  if (child == 0) {
    for (int i = 0; i < 1000; i++) free(malloc(16));
    _exit(7);
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("child %d\n", WEXITSTATUS(status));
  return getchar() == EOF;
}
"""


def test_a_write_is_not_cut_short_and_children_are_not_recorded(t: Test) -> None:
    source, program = t.tmp / "blocked.c", t.tmp / "blocked"
    source.write_text(BLOCKED)
    subprocess.run(["gcc", "-O1", "-D_GNU_SOURCE", "-fno-builtin", "-fno-ipa-ra", "-pthread", "-o", program, source], check=True)
    process = start(t, program, until="up")

    def go_on(until: str) -> None:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: until in t.output_of(process), 30, f"the program to say '{until}'")

    require_refused(t, process.pid, "waits in a call that a stop would cut short, such as write")
    t.check("wrote" not in t.output_of(process), "the write has returned")
    go_on("wrote 1048576\n")
    worst = int(re.search(r"worst (\d+) ms", t.output_of(process))[1])
    t.check(worst < 2500, f"another thread stood for {worst} ms of the 5 s in which attaching was tried")
    attach(t, process.pid, "--mode", "exact")
    go_on("child 7\n")
    detach(t, process.pid)
    process.communicate(b"\n")
    t.finish(process)


def test_what_is_said_where_entry_points_lead_on_unrecorded(t: Test) -> None:
    """What was loaded by an earlier attach has no need of dlopen, but of the loader's lock once the entry points lead to
    it. Where another thread keeps that, nothing is recorded, and 'left as it is' would not be true."""
    plugin = case(t, "slow_to_load.c", "-shared", "-fPIC", output="slow_to_load.so")
    program = case(t, "loader_kept.c", "-pthread", "-ldl")
    process = start(t, program, plugin, until="waiting")
    before = code_of(process.pid, program)
    attach(t, process.pid)
    detach(t, process.pid)
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()
    wait_until(lambda: "loading" in t.output_of(process), 10, "the loader's lock to be taken")
    done = command(t, "attach", process.pid)
    t.check(done.returncode == 3 and re.search(
        rf"^mallard: error: process {process.pid} .*is not recorded, but its allocator's entry points lead to what was loaded, "
        r"which hands the calls on: other threads of it keep the loader's lock$", done.stderr, re.MULTILINE),
        f"status {done.returncode}: {done.stdout}{done.stderr}")
    t.check(code_of(process.pid, program) != before, "the code is as it was, and the sentence says that it is not")
    wait_until(lambda: "loaded 1" in t.output_of(process), 30, "the object to be loaded")
    detach(t, process.pid)
    t.equal(code_of(process.pid, program), before, "the code after detaching")
