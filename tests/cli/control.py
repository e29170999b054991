# SPDX-License-Identifier: Apache-2.0
"""The command's end of the control channel, for tests that misbehave on it; and hosts for it."""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

from .harness import Failure, Skip, Test

# Keeps every 100th block: the rest is retained by the allocator, and glibc gives it back when it is trimmed.
HOLDER = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int value;
static void on_signal(int number, siginfo_t* info, void* context) {
  (void)number, (void)context;
  value = info->si_value.sival_int;
}
int main(int argc, char** argv) {
  enum { N = 100000 };
  static char* blocks[N];
  for (int i = 0; i < N; ++i) memset(blocks[i] = malloc(500), 1, 500);
  for (int i = 0; i < N; ++i)
    if (i % 100 != 0) free(blocks[i]);
  if (argc > 1) {
    struct sigaction action = {0};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR2, &action, NULL);
  }
  puts("up");
  fflush(stdout);
  while (argc < 3 || value == 0) pause();
  printf("%d\\n", value);
  return 0;
}
"""
CONTROL_REQUEST = 0x6374726C
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]


def library(t: Test) -> str:
    path = t.mallard.parent / "libmallard.so"
    if not path.exists():
        raise Skip(f"there is no {path}")
    return str(path)


def start(t: Test, source: str = HOLDER, *arguments: str, **env: str) -> int:
    preset = {"LD_PRELOAD": library(t), "ALLOC_CONTROL": "1", "ALLOC_REPORT": str(t.dir / "report.%p.%n")}
    return t.start(t.compile("holder", source=source), *arguments, env=preset | env).pid


class Listener:
    """A socket as the command makes it, or not quite so."""

    def __init__(self, pid: int, own_pid: int | None = None, directory: str = "/tmp", directory_mode: int = 0o700,
                 socket_mode: int = 0o600) -> None:
        self.pid, self.number = pid, secrets.randbits(31) + 1
        self.directory = Path(directory) / f"mallard-{own_pid or pid}-{self.number:08x}"
        self.directory.mkdir(mode=0o700)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.directory / "control"))
        (self.directory / "control").chmod(socket_mode)
        self.directory.chmod(directory_mode)
        self.listener.listen()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        (self.directory / "control").unlink(missing_ok=True)
        self.directory.rmdir()

    def send_signal(self) -> None:
        if LIBC.sigqueue(self.pid, signal.SIGUSR2, self.number << 32 | CONTROL_REQUEST) != 0:
            raise Failure(f"sigqueue: {os.strerror(ctypes.get_errno())}")

    def connection(self, seconds: float = 60) -> socket.socket | None:
        """Sends the signal until the process comes; None if it does not."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send_signal()
            if select.select([self.listener], [], [], min(0.25, seconds))[0]:
                peer, _ = self.listener.accept()
                peer.settimeout(60)
                return peer
        return None


def answer_of(peer: socket.socket) -> dict[str, Any]:
    text = b""
    while not text.endswith(b"\n"):
        piece = peer.recv(4096)
        if not piece:
            raise Failure(f"the process closed the connection after {text!r}")
        text += piece
    return json.loads(text)


def exchange(pid: int, request: bytes, own_pid: int | None = None, directory: str = "/tmp") -> dict[str, Any]:
    with Listener(pid, own_pid, directory) as listener:
        peer = listener.connection()
        if not peer:
            raise Failure(f"process {pid} did not come")
        with peer:
            creds = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if creds[0] != pid:
                raise Failure(f"process {creds[0]} came, expected {pid}")
            # A host that has read enough to refuse answers and closes, be it in the middle of what we send.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.sendall(request)
            return answer_of(peer)


def quiet_state(pid: int) -> tuple[list[str], int]:
    """Descriptors and threads, once the reporter thread has ended."""
    until = time.monotonic() + 60
    while len(os.listdir(f"/proc/{pid}/task")) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return sorted(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))


def left_behind(pid: int) -> list[Path]:
    return [*Path("/tmp").glob(f"mallard-{pid}-*"), *Path("/dev/shm").glob(f"mallard-{pid}-*")]
