# SPDX-License-Identifier: Apache-2.0
"""What `mallard attach` and `detach` leave as it is, and say why."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .control import library
from .harness import Failure, Skip, Test
from .test_attach import attach, detach, refused

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
    refused(t, t.start(t.compile("own", source=OWN_MALLOC)).pid, "its own malloc inside the executable cannot be watched: ")
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


def test_what_takes_too_long_is_not_called_undone(t: Test) -> None:
    """A malloc that waits, for no lock of the loader's, holds up what was begun; whether it is recorded at last is not known
    yet, and nobody says that it is left as it is."""
    slow = """
#include <stdlib.h>
#include <unistd.h>
void* calloc(size_t count, size_t bytes) {
  static char room[8 << 20];
  static size_t used;
  static int has_waited;
  if (access("slow", F_OK) == 0 && !has_waited) {
    has_waited = 1;
    sleep(24);
  }
  return room + __atomic_fetch_add(&used, (count * bytes + 31) / 16 * 16, __ATOMIC_RELAXED);
}
void* malloc(size_t bytes) { return calloc(1, bytes); }
void free(void* block) { (void)block; }
void* realloc(void* block, size_t bytes) {
  char *to = calloc(1, bytes + 4096), *from = block;
  for (size_t i = 0; block && i < bytes; i++) to[i] = from[i];
  return to;
}
"""
    preloaded = t.compile("libslow.so", "-shared", "-fPIC", source=slow)
    process = t.start(t.compile("sleeps", source=SLEEPS), env={"LD_PRELOAD": str(preloaded)})
    (t.dir / "slow").touch()
    done = t.run("attach", str(process.pid))
    if done.status != 3 or "takes longer than 20.5 s, and ends by itself" not in done.stderr or "left as it is" in done.stderr:
        raise Failure(f"status {done.status}: {done.stdout}{done.stderr}")
    time.sleep(5)
    attach(t, process.pid)
    detach(t, process.pid)
    if process.poll() is not None:
        raise Failure(f"the host ended: {process.returncode}")
