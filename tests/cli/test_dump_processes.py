# SPDX-License-Identifier: Apache-2.0
"""`mallard dump`: processes of every kind, and every reason why one gives no report."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .control import HOLDER, library
from .harness import Checked, Failure, Skip, Test

# What programs such as redis do to show a title in ps: the environment is gone from /proc.
RENAMED = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
extern char** environ;
int main(int argc, char** argv) {
  char* end = argv[0];
  for (char** e = environ; *e; ++e) end = *e + strlen(*e) + 1;
  memset(argv[0], 0, (size_t)(end - argv[0]));
  strcpy(argv[0], "other");
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""

FORKS = """
#include <stdio.h>
#include <unistd.h>
int main(void) {
  if (fork() != 0) {
    puts("up");
    fflush(stdout);
  }
  for (;;) pause();
}
"""


# Stops itself when the reporter is to begin: libmallard.so finds the program's pthread_create first.
STOPS_ON_THE_WAY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
typedef int Create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
static Create* real;
static int created;
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* with) {
  if (created++ == 0) kill(getpid(), SIGSTOP);
  return real(thread, attributes, run, with);
}
int main(void) {
  real = (Create*)dlsym(RTLD_NEXT, "pthread_create");
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def start(t: Test, source: str = HOLDER, *arguments: str, **env: str) -> int:
    return t.start(t.compile("holder", source=source), *arguments, env={"LD_PRELOAD": library(t)} | env).pid


def dump(t: Test, pid: int, *options: str) -> Checked:
    return t.run("dump", str(pid), "--timeout", "100", *options)


def expect_json(done: Checked, pid: int) -> dict:
    if done.status != 0:
        raise Failure(f"status {done.status}: {done.stderr}")
    data = json.loads(done.stdout)
    if data["process"]["pid"] != pid:
        raise Failure(f"a report of process {data['process']['pid']}")
    return data


def test_dump_prints_the_report(t: Test) -> None:
    pid = start(t)
    t.expect(dump(t, pid), 0, f"pid {pid},", "Call sites by resident memory",
             error=f"mallard: {t.dir.resolve()}/mallard.holder.{pid}.0001.json (and .txt)")
    data = expect_json(dump(t, pid, "--json"), pid)
    if data["report_number"] != 2 or data["probe"] is not None:
        raise Failure(f"report {data['report_number']}, probe {data['probe']}")


def test_dump_purges_on_request_only(t: Test) -> None:
    pid = start(t)
    probe = expect_json(dump(t, pid, "--json", "--purge"), pid)["probe"]
    if not (probe and probe["done"] and probe["call"] == "malloc_trim(0)"):
        raise Failure(f"probe: {probe}")
    if probe["given_back_bytes"] < 30 << 20 or probe["rss_before_bytes"] - probe["rss_after_bytes"] < 30 << 20:
        raise Failure(f"of 50 MB free memory little went back: {probe}")
    t.expect(dump(t, pid, "--purge"), 0, "Purge probe", "malloc_trim(0)", "ext to nothing", error="mallard: /")
    if expect_json(dump(t, pid, "--json"), pid)["probe"] is not None:
        raise Failure("a plain report purged")


def test_dump_is_no_signal_of_the_program(t: Test) -> None:
    process = t.start(t.compile("holder", source=HOLDER), "handler", "end", env={"LD_PRELOAD": library(t)})
    expect_json(dump(t, process.pid, "--json", "--by-signal"), process.pid)
    expect_json(dump(t, process.pid, "--purge", "--json"), process.pid)
    own = signal.SIGUSR2
    subprocess.run(["kill", "-s", str(int(own)), "-q", "4711", str(process.pid)], check=True)
    assert process.stdout
    if process.stdout.read() != b"4711\n":
        raise Failure("the program's handler ran for a request, or did not get its own signal")


# The JVM keeps SIGUSR2 for itself, and aborts when anybody else sends it.
JAVA = """
public class Waits {
  public static void main(String[] a) throws Exception { System.out.println("up"); Thread.sleep(60000); }
}
"""


def test_dump_of_a_jvm(t: Test) -> None:
    if not shutil.which("java"):
        raise Skip("there is no java")
    (t.dir / "Waits.java").write_text(JAVA)
    process = t.start("java", "-Xmx64m", t.dir / "Waits.java", env={"LD_PRELOAD": library(t)})
    for options in ((), ("--by-signal",), ("--purge",)):
        expect_json(dump(t, process.pid, "--json", *options), process.pid)
    if process.poll() is not None:
        raise Failure(f"the JVM ended with {process.returncode}")


def test_dump_finds_reports_elsewhere(t: Test) -> None:
    pid = start(t, HOLDER, ALLOC_REPORT=str(t.dir / "odd[1]*.%e.%t.%%.%n"), ALLOC_SIGNAL="SIGRTMIN+5")
    expect_json(dump(t, pid, "--json"), pid)
    pid = start(t, HOLDER, ALLOC_REPORT="/nowhere/r.%p.%n", TMPDIR=str(t.dir))
    t.expect(dump(t, pid), 0, error=f"mallard: {t.dir}/r.{pid}.0001.json")


def test_dump_of_a_program_without_environment(t: Test) -> None:
    pid = start(t, RENAMED, ALLOC_REPORT=str(t.dir / "renamed.%n"), ALLOC_SIGNAL="SIGUSR1")
    if b"ALLOC" in Path(f"/proc/{pid}/environ").read_bytes():
        raise Failure("the environment is still there")
    t.expect(dump(t, pid), 0, error=f"mallard: {t.dir}/renamed.0001.json")


def test_dump_in_namespaces(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Skip("needs root and unshare")
    outer = t.start("unshare", "--pid", "--fork", "--kill-child", "--mount", t.compile("holder", source=HOLDER),
                    env={"LD_PRELOAD": library(t)})
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
    if not children:
        raise Skip("no private namespaces are permitted here")
    pid = int(children)
    data = json.loads(dump(t, pid, "--json").stdout or "{}")
    if not data or data["process"]["pid"] != 1:
        raise Failure("no report of the process that calls itself 1")


def test_the_fork_of_a_shell_may_do_something_first(t: Test) -> None:
    """A fork of anything else is a worker, which is not waited for."""
    shell = t.start("sh", "-c", f'(sleep 2; LD_PRELOAD="{library(t)}" exec "$0") & echo $!; wait',
                    t.compile("holder", source=HOLDER))
    pid = int(Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()[0])
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "mode sample")
    worker = t.start(t.compile("worker", source=FORKS), env={"LD_PRELOAD": ""})
    began = time.monotonic()
    pid = int(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()[0])
    t.expect(t.run("mode", str(pid), "off"), 3, error="is not loaded in process")
    if time.monotonic() - began > 20:
        raise Failure(f"a worker was waited for: {time.monotonic() - began:.0f} s")
    os.kill(pid, signal.SIGKILL)


def blocking(change: str) -> str:
    return HOLDER.replace('puts("up")', f'sigset_t set; sigfillset(&set); {change} sigprocmask(SIG_BLOCK, &set, NULL); puts("up")')


def test_another_signal_is_named_that_gets_through(t: Test) -> None:
    """Servers that leave signals to one thread (apache's mpm_event) block nearly all: the hint must be one that helps."""
    for change, given, advice in (("", "SIGUSR2", "no signal gets through: start it with ALLOC_AT_EXIT=1"),
                                  ("sigdelset(&set, SIGXCPU);", "SIGUSR2", "ALLOC_SIGNAL=SIGXCPU"),
                                  ("sigdelset(&set, SIGRTMIN + 9);", "SIGRTMIN+5", "ALLOC_SIGNAL=SIGRTMIN+9"),
                                  ("sigemptyset(&set); sigaddset(&set, SIGRTMIN + 5);", "SIGRTMIN+5", "ALLOC_SIGNAL=SIGRTMIN+9"),
                                  ("sigemptyset(&set); sigaddset(&set, SIGUSR2);", "SIGUSR2", "ALLOC_SIGNAL=SIGRTMIN+5")):
        pid = start(t, blocking(change), ALLOC_SIGNAL=given)
        done = dump(t, pid, "--by-signal")
        t.expect(done, 0, f"mallard inspect --full {pid}", error=f"every thread of process {pid} ('holder') blocks {given}")
        if "it is looked at from outside, without call sites" not in done.stderr or done.stderr.count("\n") != 1:
            raise Failure(done.stderr)
        if advice not in done.stderr or ("as nearly all signals" in done.stderr) == ("sigemptyset" in change):
            raise Failure(f"{change} {given}: {done.stderr}")
        if advice not in " ".join(t.run("check", str(pid)).stdout.split()):
            raise Failure(t.run("check", str(pid)).stdout)


def test_dump_of_processes_that_cannot_answer(t: Test) -> None:
    program = t.compile("holder", source=HOLDER)
    plain = t.start(program).pid
    t.expect(dump(t, plain, "--purge"), 3, error=f"libmallard.so is not loaded in process {plain} ('holder')")
    ended = t.start("sh", "-c", "echo up")
    ended.wait()
    t.expect(dump(t, ended.pid), 3, error=f"process {ended.pid} cannot be read: No such process")
    for wrong in ("0", "-4", "", "4294967297"):
        t.expect(t.run("dump", wrong), 2, error=f"'{wrong}' is no process id")
    t.expect(t.run("dump"), 2, error="PID|NAME is required")
    silent = start(t, HOLDER, ALLOC_SIGNAL="none")
    if expect_json(dump(t, silent, "--json", "--by-signal"), silent)["reason"] != "inspection":
        raise Failure("a report without a signal")
    t.expect(dump(t, silent, "--purge"), 3, error="ALLOC_SIGNAL=none")
    blocked = start(t, HOLDER.replace('puts("up")', "sigset_t all; sigfillset(&all); "
                                      'sigprocmask(SIG_BLOCK, &all, NULL); puts("up")'))
    t.expect(dump(t, blocked, "--purge"), 3, error="blocks SIGUSR2")
    t.expect(dump(t, blocked, "--by-signal", "--fail-on", "rss>1K"), 1, error="blocks SIGUSR2")
    stopped = start(t)
    os.kill(stopped, signal.SIGSTOP)
    t.expect(dump(t, stopped, "--by-signal"), 3, error=f"let it go on: kill -CONT {stopped}")
    os.kill(stopped, signal.SIGCONT)
    expect_json(dump(t, stopped, "--json"), stopped)


def test_dump_of_a_process_that_is_stopped_on_the_way(t: Test) -> None:
    """It is seen at once that no answer can come; the request is still served when the process goes on."""
    program = t.compile("holder", "-ldl", "-pthread", source=STOPS_ON_THE_WAY)
    pid = t.start(program, env={"LD_PRELOAD": library(t)}).pid
    began = time.monotonic()
    done = dump(t, pid, "--by-signal")
    took = time.monotonic() - began
    t.expect(done, 3, error=f"process {pid} ('holder') is stopped, and cannot answer")
    if done.stderr.count("\n") != 2 or f"hint: let it go on: kill -CONT {pid}" not in done.stderr or took > 50:
        raise Failure(f"after {took:.1f} s: {done.stderr}")
    os.kill(pid, signal.SIGCONT)
    expect_json(dump(t, pid, "--json", "--by-signal"), pid)


def test_dump_does_not_wait_for_ever(t: Test) -> None:
    pid = start(t, HOLDER, ALLOC_REPORT="too-long" * 40)  # for any directory
    began = time.monotonic()
    done = t.run("dump", str(pid), "--by-signal", "--timeout", "200")
    t.expect(done, 0, f"mallard inspect --full {pid}", error="has written no report: report '")
    if "cannot be written: name too long" not in done.stderr or time.monotonic() - began > 150:
        raise Failure(f"after {time.monotonic() - began:.0f} s: {done.stderr}")


def test_dump_takes_no_report_of_others(t: Test) -> None:
    """In a directory where everybody may write: what another user left there, and a FIFO."""
    if os.geteuid() != 0:
        raise Skip("needs root, for a file of somebody else")
    shared = t.dir / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    pid = start(t, HOLDER, ALLOC_REPORT=str(shared / "r.%p.%n"), ALLOC_SIGNAL="SIGRTMIN+5")
    out, err = t.dir / "dump.out", t.dir / "dump.err"  # a pipe that nobody reads yet would hold it up
    with out.open("w") as to_out, err.open("w") as to_err:
        command = subprocess.Popen([t.mallard, "dump", "--json", "--by-signal", str(pid)], stdout=to_out, stderr=to_err)
    until = time.monotonic() + 120
    number = 0
    while command.poll() is None and time.monotonic() < until:
        number += 1
        forged = shared / f"r.{pid}.0000.{number}.json"
        staged = shared / "staged"
        staged.write_text('{"process": {"pid": %d}, "forged": true}\n' % pid)
        os.chown(staged, 65534, 65534)
        staged.rename(forged)
        os.mkfifo(shared / f"r.{pid}.000.{number}.json")
        time.sleep(0.002)
    if command.poll() is None:
        command.kill()
        raise Failure("it hangs")
    stdout, stderr = out.read_text(), err.read_text()
    if command.returncode != 0 or '"forged"' in stdout or '"schema_version"' not in stdout:
        raise Failure(f"status {command.returncode}, {number} forged: {stdout[:200]} {stderr}")


def test_dump_needs_permission(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    pid = start(t)
    command = shutil.copy(t.mallard, t.dir / "mallard")
    t.dir.chmod(0o755)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", command, "dump", str(pid)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 3 or f"process {pid} cannot be read: Permission denied" not in done.stderr:
        raise Failure(f"status {done.returncode}: {done.stderr}")


# The main thread sleeps for as long as nobody interrupts it; another waits as threads of a pool do.
SLEEPER = """
#include <pthread.h>
#include <stdio.h>
#include <time.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER, here = PTHREAD_COND_INITIALIZER;
static int waits;
static void* wait_for_work(void* unused) {
  pthread_mutex_lock(&mutex);
  waits = 1;
  pthread_cond_signal(&here);
  for (;;) pthread_cond_wait(&never, &mutex);
  return unused;
}
int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, wait_for_work, NULL);
  pthread_mutex_lock(&mutex);
  while (!waits) pthread_cond_wait(&here, &mutex);
  pthread_mutex_unlock(&mutex);
  puts("up");
  fflush(stdout);
  struct timespec ten_minutes = {600, 0};
  int result = nanosleep(&ten_minutes, NULL);
  printf("the sleep ended with %d\\n", result);
  fflush(stdout);
  for (;;) pthread_join(thread, NULL);
}
"""


def test_dump_ends_no_sleep_where_a_thread_waits(t: Test) -> None:
    process = t.start(t.compile("sleeper", "-pthread", source=SLEEPER), env={"LD_PRELOAD": library(t)})
    for _ in range(3):
        expect_json(dump(t, process.pid, "--json", "--by-signal"), process.pid)
    process.kill()
    assert process.stdout
    said = process.stdout.read().decode()
    if said:
        raise Failure(f"a request disturbed it: {said}")
