# SPDX-License-Identifier: Apache-2.0
"""mallard top in a terminal of its own, under a process that stands for the shell."""
from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterable

from .harness import Failure, Test

ENTERS_SCREEN, LEAVES_SCREEN, SHOWS_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


def _shell(command: list[str], environment: dict[str, str], ignoring: Iterable[int], pids: int) -> None:
    """Runs the command as a shell does: in the foreground, in a process group of its own. Only such a group can
    be stopped by SIGTSTP."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        for number in (signal.SIGTTOU, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores two of them
            signal.signal(number, signal.SIG_DFL)
        for number in ignoring:
            signal.signal(number, signal.SIG_IGN)
        os.execve(command[0], command, environment)
    os.write(pids, f"{child} ".encode())
    os.write(pids, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


class Screen:
    def __init__(self, t: Test, *arguments: str, columns: int = 80, lines: int = 24, terminal: str = "xterm",
                 ignoring: Iterable[int] = ()) -> None:
        self._pipe, pids = os.pipe()
        # Made here, so that its first settings and size are known before the command runs.
        self.fd, its = pty.openpty()
        self.settings = termios.tcgetattr(self.fd)
        self.resize(columns, lines)
        self._shell = os.fork()
        if self._shell == 0:
            try:
                os.login_tty(its) if hasattr(os, "login_tty") else self._login(its)
                _shell([str(t.mallard), "top", *arguments],
                       {**os.environ, "TERM": terminal, "LC_ALL": "C.UTF-8"}, ignoring, pids)
            finally:
                os._exit(0)
        os.close(its)
        os.close(pids)
        self.pid = int(self._word())  # of mallard top

    def _word(self) -> bytes:
        """From the shell, up to a space or the end: the status may follow the pid before that is read."""
        word = b""
        while (byte := os.read(self._pipe, 1)) not in (b"", b" "):
            word += byte
        return word

    @staticmethod
    def _login(its: int) -> None:
        os.setsid()
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(its, fd)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def read_until(self, text: str, seconds: float = 120) -> str:
        seen, until = "", time.monotonic() + seconds
        while text not in seen:
            if time.monotonic() > until:
                raise Failure(f"{text!r} has not come; seen: {seen[-2000:]!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise Failure(f"ended before {text!r}; seen: {seen[-2000:]!r}") from None
        return seen

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self) -> tuple[str, int, list[object]]:
        """What it writes until it ends, its status, and the terminal's settings then."""
        text, until = "", time.monotonic() + 120
        while True:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                raise Failure(f"it does not end; seen: {text[-2000:]!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        after = termios.tcgetattr(self.fd)
        status = int(self._word())
        os.waitpid(self._shell, 0)
        os.close(self.fd)
        os.close(self._pipe)
        return text, status, after
