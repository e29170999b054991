# SPDX-License-Identifier: Apache-2.0
"""Commands that misbehave on the control channel: the host lives, answers the next one, and never waits."""
from __future__ import annotations

import concurrent.futures
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .control import Listener, answer_of, exchange, left_behind, quiet_state, start
from .harness import Failure, Skip, Test

GOOD = b"mallard 1 mode\n"
NOT_A_REQUEST = ("the request is not mode, mode sample, mode exact, mode off, mode latency, mode latency=off or "
                 "purge")


def expect_alive(pid: int) -> None:
    answer = exchange(pid, GOOD)
    if answer != {"pid": pid, "done": True, "was": "sample", "mode": "sample", "latency": False}:
        raise Failure(f"answer: {answer}")


def test_control_malformed_requests(t: Test) -> None:
    pid = start(t)
    before = quiet_state(pid)
    numbers = random.Random(5)
    version = "the request is not one of this version of mallard"
    for request, why in ((b"\n", version), (b"mallard 9 mode\n", version), (b"x" * 64, version),
                         (b"x" * 100000, version), (b"mallard 1 mode fast\n", NOT_A_REQUEST),
                         (b"mallard 1 purge\nmallard 1 purge\n", NOT_A_REQUEST)):
        answer = exchange(pid, request)
        if answer != {"pid": pid, "done": False, "why_not": why}:
            raise Failure(f"{request[:30]!r}: {answer}")
    for _ in range(200):
        answer = exchange(pid, numbers.randbytes(numbers.randrange(64)) + b"\n")
        if answer["done"]:
            raise Failure(f"random bytes did something: {answer}")
    expect_alive(pid)
    if quiet_state(pid) != before or left_behind(pid):
        raise Failure(f"it left something: {quiet_state(pid)}, {before}, {left_behind(pid)}")


def test_control_of_commands_that_are_slow_or_gone(t: Test) -> None:
    pid = start(t)
    with Listener(pid) as listener:  # nothing is sent: the host's patience ends after 2 s
        began = time.monotonic()  # before the host connects: it waits no shorter than it says, however late we look
        peer = listener.connection()
        assert peer
        with peer:
            if answer_of(peer)["done"] or not 2 <= time.monotonic() - began < 60:
                raise Failure(f"patience of {time.monotonic() - began:.1f} s, expected 2 s and what the machine adds")
    with Listener(pid) as listener:  # a byte now and then does not prolong it
        peer = listener.connection()
        assert peer
        sent = 0
        try:
            for byte in GOOD:  # which takes 15 s
                peer.sendall(bytes([byte]))
                sent += 1
                time.sleep(1)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if sent == len(GOOD):
            raise Failure(f"all of {sent} bytes were waited for, one in a second")
        peer.close()
    for send in (b"", b"mallard 1 mo", GOOD):  # the command dies before, within and after its request
        with Listener(pid) as listener:
            peer = listener.connection()
            assert peer
            peer.sendall(send)
            peer.close()
    expect_alive(pid)


def test_control_of_commands_that_are_nobody(t: Test) -> None:
    """Not private, not the sender's, not this user's: the host does not even connect."""
    pid = start(t)
    for modes in ({"directory_mode": 0o755}, {"directory_mode": 0o1777}, {"socket_mode": 0o666}):
        with Listener(pid, **modes) as listener:
            if listener.connection(0.5):
                raise Failure(f"it came although the modes were {modes}")
    with Listener(pid) as listener:  # a symbolic link to what would be right
        real = listener.directory.with_name(listener.directory.name + ".real")
        listener.directory.rename(real)
        listener.directory.symlink_to(real)
        came = listener.connection(0.5)
        listener.directory.unlink()
        real.rename(listener.directory)
        if came:
            raise Failure("it came through a symbolic link")
    with Listener(pid) as listener:  # somebody else listens where the sender should
        sender = f"import sys; sys.path[:0] = ['{Path(__file__).parents[1]}']; from cli.control import *; " \
                 f"LIBC.sigqueue({pid}, {int(signal.SIGUSR2)}, {listener.number << 32 | 0x6374726c})"
        subprocess.run([sys.executable, "-B", "-c", sender], check=True)
        listener.listener.settimeout(1)
        try:
            peer, _ = listener.listener.accept()
            if peer.recv(1):
                raise Failure("it spoke to a process that had not sent the signal")
            peer.settimeout(5)
            try:
                peer.sendall(GOOD)
                if peer.recv(100):
                    raise Failure("it answered a process that had not sent the signal")
            except (BrokenPipeError, ConnectionResetError):
                pass
        except TimeoutError:
            pass
    expect_alive(pid)


def test_control_of_another_user(t: Test) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    pid = start(t)
    number = 0x1234567
    directory = Path(f"/tmp/mallard-{pid}-{number:08x}")
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)
    listener = "import socket, sys; s = socket.socket(socket.AF_UNIX); import os; os.umask(0o177); " \
               f"s.bind('{directory}/control'); s.listen(); s.settimeout(1.5); print('up', flush=True)\n" \
               "try: s.accept(); print('came')\nexcept TimeoutError: print('did not come')"
    other = t.start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", listener)
    try:
        sender = Listener.__new__(Listener)
        sender.pid, sender.number = pid, number
        sender.send_signal()  # by root: another user could not
        assert other.stdout
        if (said := other.stdout.read()) != b"did not come\n":
            raise Failure(f"to a socket of another user: {said!r}")
    finally:
        shutil.rmtree(directory)
    expect_alive(pid)


def test_control_storm(t: Test) -> None:
    pid = start(t)
    before = quiet_state(pid)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda i: exchange(pid, GOOD if i % 10 else b"mallard 1 purge\n"), range(1000)):
            if not answer["done"] or answer["pid"] != pid:
                raise Failure(f"answer: {answer}")
    for _ in range(1000):  # numbers of which nobody listens
        Listener.send_signal(type("Nobody", (), {"pid": pid, "number": random.getrandbits(31)})())
    expect_alive(pid)
    if quiet_state(pid) != before or left_behind(pid):
        raise Failure(f"it left something: {quiet_state(pid)}, {before}, {left_behind(pid)}")


# Allocates until it is told to end. Says for how long it was held up at most: neither at work, nor in line for a
# processor, which the kernel counts.
WORKER = """
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static volatile sig_atomic_t over;
static void on_term(int number) { (void)number, over = 1; }
static double seconds_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
static double accounted_for(int schedstat) {
  char text[100] = "";
  unsigned long long in_line = 0;
  if (pread(schedstat, text, sizeof text - 1, 0) > 0) sscanf(text, "%*u %llu", &in_line);
  return seconds_of(CLOCK_THREAD_CPUTIME_ID) + (double)in_line / 1e9;
}
int main(void) {
  signal(SIGTERM, on_term);
  const int schedstat = open("/proc/thread-self/schedstat", O_RDONLY);
  puts("up");
  fflush(stdout);
  double longest = 0, last = seconds_of(CLOCK_MONOTONIC), last_accounted = accounted_for(schedstat);
  while (!over) {
    for (int i = 0; i < 1000; ++i) {
      free(malloc(10000));
      for (volatile int own = 0; own < 500; ++own) {}  // elsewhere no thread can be started from a signal handler
    }
    const double accounted = accounted_for(schedstat), now = seconds_of(CLOCK_MONOTONIC);
    const double held_up = now - last - (accounted - last_accounted);
    if (held_up > longest) longest = held_up;
    last = now;
    last_accounted = accounted;
  }
  printf("%.3f\\n", longest);
  exit(0);
}
"""


def ends_at_once(t: Test, program: Path) -> bool:
    """Whether it ended while its reporter still waited for the command: then the command never hears of it."""
    process = t.start(program, env={"LD_PRELOAD": str(t.mallard.parent / "libmallard.so"), "ALLOC_CONTROL": "1",
                                    "ALLOC_SAMPLE_BYTES": "4096"})
    with Listener(process.pid) as listener:
        peer = listener.connection()
        assert peer
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
        assert process.stdout
        longest = float(process.stdout.read())
        with peer:
            try:
                heard = peer.recv(4096)
            except ConnectionResetError:
                heard = b""
    if status != 0 or longest > 1:
        raise Failure(f"status {status}, held up for {longest} s (the reporter waits 2 s)")
    return not heard


def test_control_never_holds_the_host_up(t: Test) -> None:
    """A command that connects and says nothing: the program goes on allocating, and exits when it wants. On a machine
    that stands still for seconds an exit that waits looks the same, but that does so every time."""
    program = t.compile("worker", source=WORKER)
    if not any(ends_at_once(t, program) for _ in range(5)):
        raise Failure("five times the process ended only after its reporter had waited for the command")
