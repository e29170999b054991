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
from pathlib import Path

import pytest

from .control import library
from .harness import Failure, Skip, Test
from .test_top_processes import WORKER, near, row_of

ATTACHED = "recorded in mode "

# Waits 2 s in one way or another, while nothing comes; prints what the wait gave.
WAITS = r"""
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void nothing(int s) { (void)s; }
static int is(const char* a, const char* b) { return strcmp(a, b) == 0; }
int main(int argc, char** argv) {
  (void)argc;
  const char* k = argv[1];
  int p[2], s[2];
  struct timespec two = {2, 0}, until;
  struct timeval also_two = {2, 0};
  long r = -2;
  if (pipe(p) || socketpair(AF_UNIX, SOCK_STREAM, 0, s)) return 1;
  struct sigaction action = {0};
  action.sa_handler = nothing;
  sigaction(SIGALRM, &action, NULL);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 2;
  puts("up");
  fflush(stdout);
  errno = 0;
  if (is(k, "sleep")) r = sleep(2);
  if (is(k, "clock_nanosleep")) errno = (int)(r = clock_nanosleep(CLOCK_MONOTONIC, 0, &two, NULL));
  if (is(k, "poll")) r = poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 2000);
  if (is(k, "select")) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    r = select(p[0] + 1, &set, NULL, NULL, &also_two);
  }
  if (is(k, "epoll")) {
    int e = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {0}};
    epoll_ctl(e, EPOLL_CTL_ADD, p[0], &event);
    r = epoll_wait(e, &event, 1, 2000);
  }
  sem_t sem;
  sem_init(&sem, 0, 0);
  if (is(k, "sem_timedwait")) r = sem_timedwait(&sem, &until);
  if (is(k, "cond")) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&m);
    errno = (int)(r = pthread_cond_timedwait(&c, &m, &until));
  }
  char b[4096];
  if (is(k, "read") || is(k, "recv")) {
    if (fork() == 0) {
      sleep(2);
      _exit(write(p[1], "x", 1) + write(s[1], "x", 1) != 2);
    }
    r = is(k, "read") ? read(p[0], b, 1) : recv(s[0], b, 1, 0);
  }
  if (is(k, "recv_timeout")) {
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &also_two, sizeof also_two);
    r = recv(s[0], b, 1, 0);
  }
  if (is(k, "wait")) {
    if (fork() == 0) _exit((int)sleep(2));
    r = wait(NULL) > 0;
  }
  if (is(k, "msgrcv") || is(k, "pause")) {
    int q = msgget(IPC_PRIVATE, 0600);
    struct { long type; char text[8]; } message;
    alarm(2);
    r = is(k, "pause") ? pause() : msgrcv(q, &message, 8, 0, 0);
    int e = errno;
    msgctl(q, IPC_RMID, NULL);
    errno = e;
  }
  if (is(k, "semop")) {
    int q = semget(IPC_PRIVATE, 1, 0600);
    r = semtimedop(q, &(struct sembuf){0, -1, 0}, 1, &two);
    int e = errno;
    semctl(q, 0, IPC_RMID);
    errno = e;
  }
  if (is(k, "sigtimedwait")) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    r = sigtimedwait(&set, NULL, &two);
  }
  printf("%ld %d\n", r, errno);
  return 0;
}
"""

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
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 3, error="is not loaded in process")
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
    ("sleep", "0 0"), ("clock_nanosleep", "0 0"), ("poll", "0 0"), ("select", "0 0"), ("epoll", "0 0"),
    ("sem_timedwait", "-1 110"), ("cond", "110 110"), ("read", "1 0"), ("recv", "1 0"), ("recv_timeout", "-1 11"),
    ("wait", "1 0"), ("msgrcv", "-1 4"), ("pause", "-1 4"), ("semop", "-1 11"), ("sigtimedwait", "-1 11")])
def test_waits_go_on(t: Test, how: str, result: str) -> None:
    """Those that end by a signal's handler end by it all the same."""
    began = time.monotonic()
    process = t.start(t.compile("waits", "-pthread", source=WAITS), how)
    time.sleep(0.2)
    for _ in range(2):
        attach(t, process.pid)
        detach(t, process.pid)
    assert process.stdout
    if (told := process.stdout.readline().decode().strip()) != result:
        raise Failure(f"{how} gave {told!r}, expected {result!r}")
    if how != "sleep" and time.monotonic() - began < 1.9:
        raise Failure("it ended early")


@pytest.mark.parametrize("how,result", [("epoll", "0 0"), ("recv_timeout", "-1 11"), ("semop", "-1 11"), ("pause", "-1 4")])
def test_waits_go_on_while_lost_blocks_are_looked_for(t: Test, how: str, result: str) -> None:
    process = t.start(t.compile("waits", "-pthread", source=WAITS), how)
    time.sleep(0.2)
    t.expect(t.run("inspect", "--leaks", "--again-after", "0.2", str(process.pid)), 0, "Verdict")
    assert process.stdout
    if (told := process.stdout.readline().decode().strip()) != result:
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
        t.expect(t.run("top", "-b", "-n", "1", str(child)), 3, error="is not loaded in process")
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


OWN_MALLOC = """
#include <stdio.h>
#include <stddef.h>
#include <unistd.h>
static char memory[1 << 20]; static size_t used;
void* malloc(size_t n) { void* p = memory + used; used += (n + 15) & ~15ul; return p; }
void free(void* p) { (void)p; }
void* calloc(size_t a, size_t b) { return malloc(a * b); }
void* realloc(void* p, size_t n) { (void)p; return malloc(n); }
int main(void) { puts("up"); fflush(stdout); for (;;) pause(); }
"""
SLEEPS = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("up"); fflush(stdout); for (;;) pause(); }\n'
FILTERED = """
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char** argv) {
  (void)argv;
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, argc > 1 ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog all = {4, program};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) != 0) return 1;
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""


def test_refusals(t: Test) -> None:
    sleeps = t.compile("sleeps", source=SLEEPS)
    refused(t, t.start(t.compile("static", "-static", source=SLEEPS)).pid, "does not use glibc's loader")
    refused(t, t.start(t.compile("own", source=OWN_MALLOC)).pid, "the executable defines malloc itself")
    refused(t, t.start(sleeps, env={"LD_PRELOAD": library(t)}).pid, "runs under mallard already")
    stopped = t.start(sleeps)
    stopped.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    refused(t, stopped.pid, "is stopped")
    t.expect(t.run("attach", "999999999"), 3, error="No such process")
    t.expect(t.run("attach", "--mode", "off", str(stopped.pid)), 2, error="'off' is no mode: expected is sample or exact")
    t.expect(t.run("attach", "--for", "0s", str(stopped.pid)), 2, error="'0s' cannot be used")
    plain = t.start(sleeps)
    t.expect(t.run("detach", str(plain.pid)), 3, error="is not attached to")
    attach(t, plain.pid)
    detach(t, plain.pid)
    t.expect(t.run("detach", str(plain.pid)), 3, error="is not attached to")  # what was loaded is there, and does nothing


def test_a_process_that_becomes_another_program_meanwhile_is_left_alone(t: Test) -> None:
    sleeps = t.compile("sleeps", source=SLEEPS)
    host = t.start("bash", "-c", f"echo ready; sleep 3; exec {sleeps}")
    t.expect(t.run("attach", "--for", "5s", str(host.pid)), 0, "recorded in mode sample", error="has become another program")
    maps = Path(f"/proc/{host.pid}/maps").read_text()
    if "sleeps" not in maps or "libmallard" in maps:
        raise Failure(f"the recorder was loaded into the next program: {maps}")


def test_refusal_while_the_loader_is_busy(t: Test) -> None:
    """The borrowed thread stops waiting for the loader's lock, and the host has its dlopen all the same."""
    host = """
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void* load(void* path) { return dlopen(path, RTLD_NOW); }
int main(int argc, char** argv) {
  pthread_t thread;
  pthread_create(&thread, NULL, load, argv[argc - 1]);
  usleep(300000);
  puts("up");
  fflush(stdout);
  int bad = 0;
  void* object = NULL;
  for (int i = 0; i < 80; ++i) bad += poll(NULL, 0, 100) != 0;
  pthread_join(thread, &object);
  printf("%d %d\\n", bad, object != NULL && dlopen("libm.so.6", RTLD_NOW) != NULL);
  fflush(stdout);
  for (;;) pause();
}
"""
    slow = '#include <unistd.h>\n__attribute__((constructor)) static void start(void) { sleep(10); }\n'
    plugin = t.compile("slow.so", "-shared", "-fPIC", source=slow)
    process = t.start(t.compile("host", "-pthread", "-ldl", source=host), plugin)
    refused(t, process.pid, "other threads of it keep the loader's lock")
    assert process.stdout
    if (told := process.stdout.readline().decode().strip()) != "0 1":
        raise Failure(f"the host says {told!r}, expected no wait cut short and a loader that works")
    attach(t, process.pid)
    detach(t, process.pid)


def test_refusal_where_no_thread_may_be_stopped(t: Test) -> None:
    """A stop would have the write return what it has written so far."""
    host = """
#include <stdio.h>
#include <unistd.h>
int main(void) {
  static char bytes[1 << 20];
  int ends[2];
  if (pipe(ends) != 0) return 1;
  puts("up");
  fflush(stdout);
  return write(ends[1], bytes, sizeof bytes) != sizeof bytes;
}
"""
    process = t.start(t.compile("writes", source=host))
    time.sleep(0.2)
    refused(t, process.pid, "within 5 s no thread of it was where it could be borrowed")
    if process.poll() is not None:
        raise Failure("the write was cut short")


def test_refusal_without_static_tls(t: Test) -> None:
    host = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) dlopen(argv[i], RTLD_NOW);
  puts("up");
  fflush(stdout);
  for (;;) pause();
}
"""
    plugin = """
__thread char kept[BYTES] __attribute__((tls_model("initial-exec")));
char* at(void) { return kept; }
"""
    plugins = [t.compile(f"plugin{i}.so", "-shared", "-fPIC", f"-DBYTES={size}", source=plugin)
               for i, size in enumerate((1024, 512, 256, 128, 64, 64, 32))]
    refused(t, t.start(t.compile("full", "-ldl", source=host), *plugins).pid, "the loader has no room left in its static TLS")


def test_refusal_where_another_traces(t: Test) -> None:
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    process = t.start(t.compile("sleeps", source=SLEEPS))
    tracer = subprocess.Popen(["strace", "-o", t.dir / "trace", "-p", str(process.pid)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if "TracerPid:\t0\n" not in open(f"/proc/{process.pid}/status", encoding="ascii").read():
                break
            time.sleep(0.02)
        refused(t, process.pid, f"process {tracer.pid} traces it")
    finally:
        tracer.terminate()
        tracer.wait()


def test_seccomp_filters(t: Test) -> None:
    if os.geteuid() != 0:
        raise Skip("only root may read the filters of a process")
    filtered = t.compile("filtered", source=FILTERED)
    refused(t, t.start(filtered).pid, "seccomp filter would end it for mprotect")
    attach(t, t.start(filtered, "allowed").pid)
