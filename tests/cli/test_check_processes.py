# SPDX-License-Identifier: Apache-2.0
"""`mallard check` of processes."""
import os
import shutil
import subprocess
import time
from pathlib import Path

from .harness import Failure, Skip, Test

SLEEPER = """
#include <stdio.h>
#include <unistd.h>
int main(void) { puts("up"); fflush(stdout); for (;;) pause(); }
"""
RENAMED = """
#include <sys/prctl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) { prctl(PR_SET_NAME, "worker 1"); puts("up"); fflush(stdout); for (;;) pause(); }
"""


def test_running_process(t: Test) -> None:
    pid = t.start(t.compile("sleeper", source=SLEEPER)).pid
    t.expect(t.check(str(pid)), 0, f"libmallard.so is not loaded in process {pid}", f"next step: mallard inspect {pid} says",
             verdict=f"mallard will see every malloc of 'sleeper' (pid {pid}) if it is started with it")
    if t.check_json(str(pid))["process"] != {"pid": pid, "mallard_loaded": False}:
        raise Failure("JSON says something else")


def test_process_with_mallard(t: Test) -> None:
    library = t.mallard.parent / "libmallard.so"
    if not library.exists():
        raise Skip(f"there is no {library}")
    pid = t.start(t.compile("sleeper", source=SLEEPER), env={"LD_PRELOAD": str(library)}).pid
    t.expect(t.check(str(pid)), 0, "libmallard.so is loaded: /", f"next step: mallard dump {pid} writes a report",
             verdict=f"mallard sees every malloc of 'sleeper' (pid {pid})")


def test_process_says_which_library_serves(t: Test) -> None:
    """Neither the library that serves nor one that is passed over is called what it is not."""
    jemalloc = next((p for d in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib") if (p := Path(d, "libjemalloc.so.2")).exists()),
                    None)
    mallard = t.mallard.parent / "libmallard.so"
    if not jemalloc or not mallard.exists():
        raise Skip("there is no libjemalloc.so.2, or no libmallard.so")
    sleeper = t.compile("sleeper", source=SLEEPER)
    for env, words in (({"LD_PRELOAD": f"{mallard}:{jemalloc}"}, "and serves this process, behind mallard"),
                       ({"LD_PRELOAD": f"{mallard}:{jemalloc}", "ALLOC_BACKEND": "system"},
                        "glibc serves this process in its place")):
        done = t.run("check", str(t.start(sleeper, env=env).pid))
        if words not in done.stdout.replace("\n    ", " ") or "comes first" in done.stdout:
            raise Failure(f"{env}: {done.stdout}")


def test_name_is_that_of_the_command(t: Test) -> None:
    """A link to another program's file, as redis-server is; one that has renamed itself is called by its file."""
    for source, name in ((SLEEPER, "called-so-for-years"), (RENAMED, "worker")):
        program = t.compile("worker", source=source)
        link = program.with_name("called-so-for-years")
        link.unlink(missing_ok=True)
        link.symlink_to(program.name)
        pid = t.start(link).pid
        t.expect(t.check(str(pid)), 0, verdict=f"every malloc of '{name}' (pid {pid})")


def test_deleted_program(t: Test) -> None:
    program = t.compile("sleeper", source=SLEEPER)
    pid = t.start(program).pid
    program.unlink()
    t.expect(t.check(str(pid)), 0, verdict=f"every malloc of 'sleeper' (pid {pid})")


def test_static_process(t: Test) -> None:
    pid = t.start(t.compile("sleeper", "-static", source=SLEEPER)).pid
    t.expect(t.check(str(pid)), 1, verdict="it is statically linked")


def test_process_gone(t: Test) -> None:
    process = t.start("sh", "-c", "echo up")
    process.wait()
    t.expect(t.check(str(process.pid)), 3,
             error=f"mallard: error: process {process.pid} cannot be read: No such process")
    t.expect(t.check("0"), 2, error="'0' is no process id")
    t.expect(t.check("99999999999999999999"), 2, error="'99999999999999999999' is no process id")


def test_zombie(t: Test) -> None:
    process = t.start("sh", "-c", "echo up")  # ends, and nobody waits for it
    deadline = time.monotonic() + 60
    while ") Z " not in Path(f"/proc/{process.pid}/stat").read_text():
        if time.monotonic() > deadline:
            raise Failure("the process does not end")
        time.sleep(0.01)
    t.expect(t.check(str(process.pid)), 3, error=f"process {process.pid} cannot be read: it has no program")


def test_not_permitted(t: Test) -> None:
    if os.geteuid() != 0:
        t.expect(t.check("1"), 3, error="process 1 cannot be read: Permission denied")
        return
    if not shutil.which("setpriv"):
        raise Skip("there is no setpriv")
    pid = t.start(t.compile("sleeper", source=SLEEPER)).pid
    command = shutil.copy(t.mallard, t.dir / "mallard")
    t.dir.chmod(0o755)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", command, "check", str(pid)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 3 or f"process {pid} cannot be read: Permission denied" not in done.stderr:
        raise Failure(f"status {done.returncode}: {done.stderr}")


# Allows everything; or, with an argument, read and write only, for ever in read.
SECCOMP = """
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char** argv) {
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {1, &allow};
  int ends[2];
  if (pipe(ends) != 0) return 1;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, argc > 1 ? SECCOMP_MODE_STRICT : SECCOMP_MODE_FILTER, &filter) != 0) return 1;
  if (write(1, "up\\n", 3) != 3) return 1;
  char byte;
  for (;;) (void)!read(ends[0], &byte, 1);
}
"""


def test_seccomp_is_told(t: Test) -> None:
    library = t.mallard.parent / "libmallard.so"
    if not library.exists():
        raise Skip(f"there is no {library}")
    program = t.compile("sandboxed", source=SECCOMP)
    words = {(): "has a seccomp filter: a report makes system calls of systemd's @system-service only",
             ("strict",): "is in seccomp's strict mode: a request for a report would end it"}
    for arguments, text in words.items():
        process = t.start(program, *arguments, env={"LD_PRELOAD": str(library)})
        shown = " ".join(t.run("check", str(process.pid)).stdout.split())
        if text not in shown:
            raise Failure(f"{arguments}: {shown}")
        done = t.run("dump", str(process.pid))
        if done.status != 0:  # taken from outside: nothing is asked of it
            raise Failure(f"no report of a process with a filter: {done.stderr}")
        if process.poll() is not None:
            raise Failure(f"{arguments}: the process has ended with {process.returncode}")
    plain = t.start(t.compile("sleeper", source=SLEEPER), env={"LD_PRELOAD": str(library)})
    if "seccomp" in t.run("check", str(plain.pid)).stdout:
        raise Failure("a process without a filter is said to have one")
