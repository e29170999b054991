# SPDX-License-Identifier: Apache-2.0
"""`mallard attach` and `detach`: call sites of processes that were started without mallard, which notice nothing."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from .harness import Failure, Skip, Test
from .test_top_processes import WORKER, near, row_of
from .waits import SOURCE as WAITS

ATTACHED = "recorded in mode "

# Threads that load, unload, throw, end and allocate; says whether any of it went wrong.
BUSY = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile int stop;
static long loads, bad, threads, blocks;
static void on_signal(int s) { (void)s; stop = 1; }
static void* load(void* path) {
  while (!stop) {
    void* object = dlopen(path, RTLD_NOW);
    int (*work)(int) = object ? (int (*)(int))dlsym(object, "work") : NULL;
    if (!work || work(100) != 100) __sync_fetch_and_add(&bad, 1);
    if (object) dlclose(object);
    __sync_fetch_and_add(&loads, 1);
  }
  return NULL;
}
static void* allocate(void* seed) {
  unsigned x = (unsigned)(long)seed;
  char* kept[256] = {0};
  while (!stop) {
    x = x * 1103515245 + 12345;
    char** at = &kept[x >> 8 & 255];
    if (*at && **at != (char)(x >> 8 & 255)) __sync_fetch_and_add(&bad, 1);
    if (x & 1 << 20) {
      free(*at);
      void* p = NULL;
      if (posix_memalign(&p, 64, (x & 4095) + 1) || (size_t)p % 64) __sync_fetch_and_add(&bad, 1);
      *at = p;
    } else {
      *at = realloc(*at, (x & 8191) + 1);
    }
    **at = (char)(x >> 8 & 255);
    char* copy = strdup("text");
    if (strcmp(copy, "text")) __sync_fetch_and_add(&bad, 1);
    free(copy);
    __sync_fetch_and_add(&blocks, 1);
  }
  for (int i = 0; i < 256; ++i) free(kept[i]);
  return NULL;
}
static void* brief(void* p) { free(calloc(10, 100)); return p; }
static void* spawn(void* p) {
  while (!stop) {
    pthread_t t;
    if (pthread_create(&t, NULL, brief, NULL) == 0) pthread_join(t, NULL);
    __sync_fetch_and_add(&threads, 1);
  }
  return p;
}
int main(int argc, char** argv) {
  (void)argc;
  signal(SIGTERM, on_signal);
  pthread_t t[5];
  pthread_create(&t[0], NULL, load, argv[1]);
  pthread_create(&t[1], NULL, allocate, (void*)1);
  pthread_create(&t[2], NULL, allocate, (void*)2);
  pthread_create(&t[3], NULL, spawn, NULL);
  pthread_create(&t[4], NULL, load, argv[1]);
  puts("up");
  fflush(stdout);
  while (!stop) usleep(10000);
  for (int i = 0; i < 5; ++i) pthread_join(t[i], NULL);
  printf("bad %ld loads %ld threads %ld blocks %ld\n", bad, loads, threads, blocks);
  return bad != 0;
}
"""
PLUGIN = """
#include <stdlib.h>
int work(int n) { int i; for (i = 0; i < n; ++i) { void* volatile p = malloc(64); free(p); } return i; }
"""


def attach(t: Test, pid: int, *options: str) -> str:
    done = t.run("attach", *options, str(pid))
    if done.status != 0 or ATTACHED not in done.stdout:
        raise Failure(f"attach: status {done.status}\n{done.stdout}{done.stderr}")
    return done.stdout


def detach(t: Test, pid: int) -> None:
    t.expect(t.run("detach", str(pid)), 0, ": detached; ")


def slots_of(pid: int) -> dict[str, str]:
    """Where each object's references lead, as the processes' read-only and writable data have it."""
    found = {}
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            fields = line.split()
            if len(fields) < 6 or not fields[1].startswith("r--") or "libmallard" in fields[5] or not fields[5].startswith("/"):
                continue
            begin, end = (int(word, 16) for word in fields[0].split("-"))
            memory.seek(begin)
            found[f"{fields[5]}+{fields[2]}"] = memory.read(end - begin).hex()
    return found


def refused(t: Test, pid: int, why: str) -> None:
    done = t.run("attach", str(pid))
    if done.status != 3 or not re.search(rf"^mallard: error: process {pid} .*{why}", done.stderr) or done.stdout:
        raise Failure(f"expected a refusal for {why!r}, status {done.status}: {done.stdout}{done.stderr}")
    if len(done.stderr.splitlines()) > 2 or not os.path.exists(f"/proc/{pid}"):
        raise Failure(f"not one line and a hint, or the process is gone: {done.stderr}")


def test_attach_shows_sites_and_leaves_as_it_came(t: Test) -> None:
    pid = t.start(t.compile("worker", "-no-pie", "-Wl,-z,relro,-z,now", source=WORKER)).pid
    before = slots_of(pid)
    said = attach(t, pid)
    if not re.fullmatch(rf"process {pid} \('worker'\): recorded in mode sample, by \d+ references in [2-9] objects; "
                        r"malloc is that of \S*libc\.so\.6\n", said):
        raise Failure(f"unexpected words: {said!r}")
    if slots_of(pid) == before:
        raise Failure("no slot was redirected")
    done = t.run("top", "-b", "-n", "2", "-d", "5", str(pid))
    t.expect(done, 0, "mode sample", "system")
    screen = done.stdout[done.stdout.rindex("mallard top:"):]
    _, _, rate = row_of(screen, "churn_one")
    near("rate of churn_one", rate, 4096 * 10200, 0.5)
    if "  hold  " in screen:
        raise Failure(f"blocks of before are in the books:\n{screen}")
    detach(t, pid)
    if slots_of(pid) != before:
        raise Failure("a slot is not as it was, or its page")
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "not recorded")
    attach(t, pid)
    detach(t, pid)
    if slots_of(pid) != before:
        raise Failure("a slot is not as it was after the second time")


def test_attach_counts_exactly(t: Test) -> None:
    pid = t.start(t.compile("worker", source=WORKER)).pid
    attach(t, pid, "--mode", "exact")
    done = t.run("top", "-b", "-n", "2", "-d", "3", str(pid))
    t.expect(done, 0, "mode exact")
    screen = done.stdout[done.stdout.rindex("mallard top:"):]
    seconds = float(re.search(r"growth .* in ([\d.]+) s;", screen).group(1))
    _, growth, _ = row_of(screen, "leak_one")
    near("growth of leak_one", growth, 4096 * 1000 * seconds, 0.1)
    t.expect(t.run("attach", str(pid)), 0, "recorded in mode sample (it was attached to already)", error="mallard dump")
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "mode sample")
    detach(t, pid)


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_dump_of_a_process_that_was_attached_to(t: Test, mode: str) -> None:
    """A whole report, in no file: the heap is divided, and what was there before has no call site."""
    source = WORKER.replace("hold();", "for (int i = 0; i < 4; ++i) hold();", 1)
    pid = t.start(t.compile("worker", "-g", source=source)).pid
    attach(t, pid, "--mode", mode)
    time.sleep(2)
    done = t.run("dump", "--json", str(pid))
    t.expect(done, 0)
    report = json.loads(done.stdout)
    recording = report["recording"]
    if recording["mode"] != mode or recording["since_start"] or report["ledger_about"]["not_divided_why"]:
        raise Failure(f"expected mode {mode}, a divided heap, blocks of before: {recording}, {report['ledger_about']}")
    text = t.run("dump", str(pid))
    t.expect(text, 0, "report 0 of worker", "what was allocated before has no call site", "leak_one")
    if " hold " in text.stdout or list(t.dir.glob("mallard.*")):
        raise Failure(f"blocks of before have a site, or there is a file:\n{text.stdout}")
    t.expect(t.run("mode", str(pid), "off"), 3, error="was attached to, and takes no commands")
    t.expect(t.run("dump", "--purge", str(pid)), 3, error="was attached to, and answers no signal")
    detach(t, pid)


def test_attach_for_a_while(t: Test) -> None:
    pid = t.start(t.compile("worker", source=WORKER)).pid
    began = time.monotonic()
    done = t.run("attach", "--mode", "exact", "--for", "1s", str(pid))
    t.expect(done, 0, ATTACHED, "report 0 of worker", "leak_one", ": detached; ")
    if time.monotonic() - began < 1:
        raise Failure("it did not wait")
    waiting = subprocess.Popen([t.mallard, "attach", "--for", "1h", str(pid)], stdout=subprocess.PIPE, text=True)
    assert waiting.stdout
    waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    if waiting.wait(60) != 0 or ": detached; " not in waiting.stdout.read():
        raise Failure("a signal did not have it detach")


@pytest.mark.parametrize("how,result", [
    ("sleep", "0 0"), ("clock_nanosleep", "0 0"), ("poll", "0 0"), ("select", "0 0"), ("epoll_wait", "0 0"),
    ("sem_timedwait", "-1 110"), ("cond_timedwait", "-1 110"), ("read", "1 0"), ("recv", "1 0"), ("recv_timeout", "-1 11"),
    ("wait", "1 0"), ("msgrcv", "-1 4"), ("pause", "-1 4"), ("semtimedop", "-1 11"), ("sigtimedwait", "-1 11")])
def test_waits_go_on(t: Test, how: str, result: str) -> None:
    """Those that end by a signal's handler end by it all the same."""
    began = time.monotonic()
    process = t.start(t.compile("waits", "-pthread", source=WAITS), how)
    time.sleep(0.2)
    for _ in range(2):
        attach(t, process.pid)
        detach(t, process.pid)
    assert process.stdout
    if (told := " ".join(process.stdout.readline().decode().split()[:2])) != result:
        raise Failure(f"{how} gave {told!r}, expected {result!r}")
    if how != "sleep" and time.monotonic() - began < 1.9:
        raise Failure("it ended early")


@pytest.mark.parametrize("how,result", [("epoll_wait", "0 0"), ("recv_timeout", "-1 11"), ("semtimedop", "-1 11"), ("pause", "-1 4")])
def test_waits_go_on_while_lost_blocks_are_looked_for(t: Test, how: str, result: str) -> None:
    process = t.start(t.compile("waits", "-pthread", source=WAITS), how)
    time.sleep(0.2)
    t.expect(t.run("inspect", "--leaks", "--again-after", "0.2", str(process.pid)), 0, "Verdict")
    assert process.stdout
    if (told := " ".join(process.stdout.readline().decode().split()[:2])) != result:
        raise Failure(f"{how} gave {told!r}, expected {result!r}")


def test_attach_to_busy_threads(t: Test) -> None:
    plugin = t.compile("plugin.so", "-shared", "-fPIC", source=PLUGIN)
    process = t.start(t.compile("busy", "-pthread", "-ldl", source=BUSY), plugin)
    for mode in ("sample", "exact") * 5:
        attach(t, process.pid, "--mode", mode)
        detach(t, process.pid)
    process.terminate()
    assert process.stdout
    told = process.stdout.read().decode()
    if process.wait(60) != 0 or not told.startswith("bad 0 "):
        raise Failure(f"status {process.returncode}: {told}")


def test_objects_that_are_loaded_later(t: Test) -> None:
    source = PLUGIN.replace("free(p);", "").replace("malloc(64)", "malloc(4096)")
    host = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char** argv) {
  puts("up");
  fflush(stdout);
  for (int i = 0; i < 200 && argc; ++i) {
    void* object = dlopen(argv[1], RTLD_NOW);
    ((int (*)(int))dlsym(object, "work"))(100);
    usleep(20000);
  }
  pause();
}
"""
    plugin = t.compile("plugin.so", "-shared", "-fPIC", source=source)
    pid = t.start(t.compile("later", "-ldl", source=host), plugin).pid
    attach(t, pid, "--mode", "exact")
    time.sleep(1.5)
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "  work  [plugin.so]")


def test_children_are_not_recorded(t: Test) -> None:
    host = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static volatile int forks;
static void on_signal(int s) { (void)s; forks = 1; }
int main(void) {
  signal(SIGUSR1, on_signal);
  puts("up");
  fflush(stdout);
  while (!forks) usleep(10000);
  if (fork() == 0) {
    for (int i = 0; i < 100000; ++i) free(malloc(1000));
    printf("%d\\n", getpid());
    fflush(stdout);
    pause();
  }
  pause();
}
"""
    process = t.start(t.compile("forks", source=host))
    attach(t, process.pid, "--mode", "exact")
    process.send_signal(signal.SIGUSR1)
    assert process.stdout
    child = int(process.stdout.readline())
    try:
        t.expect(t.run("top", "-b", "-n", "1", str(child)), 0, "not recorded")
        refused(t, child, "was forked off a process that was attached to")
        detach(t, child)
    finally:
        os.kill(child, signal.SIGKILL)
    detach(t, process.pid)


def test_a_command_that_is_killed_leaves_the_host_running(t: Test) -> None:
    plugin = t.compile("plugin.so", "-shared", "-fPIC", source=PLUGIN)
    process = t.start(t.compile("busy", "-pthread", "-ldl", source=BUSY), plugin)
    for i in range(30):
        command = subprocess.Popen([t.mallard, "attach", str(process.pid)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(0.001 * i)
        command.kill()
        command.wait()
        if process.poll() is not None:
            raise Failure(f"the host ended with {process.returncode} after {i} ms")
    attach(t, process.pid)
    detach(t, process.pid)
    process.terminate()
    assert process.stdout
    if process.wait(60) != 0 or not (told := process.stdout.read().decode()).startswith("bad 0 "):
        raise Failure(f"status {process.returncode}: {told}")


def test_attach_with_another_root(t: Test) -> None:
    """The process does not see the file: it comes from memory."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Skip("takes root and unshare")
    worker = t.compile("worker", source=WORKER)
    root = t.dir / "root"
    for needed in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", worker], capture_output=True, text=True,
                                                            check=True).stdout):
        (root / needed[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(needed, root / needed[1:])
    shutil.copy(worker, root / "worker")
    (root / "proc").mkdir()
    script = f"mount --rbind /proc {root}/proc && exec chroot {root} /worker"
    process = t.start("unshare", "-m", "sh", "-c", script)
    if process.poll() is not None:
        raise Skip("no mount namespace can be made here")
    attach(t, process.pid)
    t.expect(t.run("top", "-b", "-n", "2", "-d", "2", str(process.pid)), 0, "churn_one  [worker]")
    detach(t, process.pid)
    if any("libmallard-attach" in os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")):
        raise Failure("a descriptor was left open")
