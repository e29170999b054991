# SPDX-License-Identifier: Apache-2.0
"""mallard top in a terminal of its own, under a process that stands for the shell. What it draws is kept as pyte, a
terminal emulator, shows it."""
from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterable
from typing import Any

import pyte

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


class Emulator(pyte.Screen):
    """pyte's screen, which knows nothing of the alternate one: entering and leaving that shows an empty one here."""

    ALTERNATE = 1049

    def set_mode(self, *modes: int, **options: Any) -> None:
        super().set_mode(*modes, **options)
        if self.ALTERNATE in modes:
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        super().reset_mode(*modes, **options)
        if self.ALTERNATE in modes:
            self.erase_in_display(2)


class Screen:
    def __init__(self, t: Test, *arguments: str, columns: int = 80, lines: int = 24, terminal: str = "xterm",
                 ignoring: Iterable[int] = ()) -> None:
        self._pipe, pids = os.pipe()
        # Made here, so that its first settings and size are known before the command runs.
        self.fd, its = pty.openpty()
        self.settings = termios.tcgetattr(self.fd)
        self.emulator = Emulator(columns, lines)
        self._stream = pyte.ByteStream(self.emulator)
        self.resize(columns, lines)
        self._shell = os.fork()
        if self._shell == 0:
            try:
                os.login_tty(its) if hasattr(os, "login_tty") else self._login(its)
                # COLUMNS and LINES, which some set, would count for more than the terminal's own size.
                environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
                _shell([str(t.mallard), "top", *arguments],
                       environment | {"TERM": terminal, "LC_ALL": "C.UTF-8"}, ignoring, pids)
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
        self.emulator.resize(lines, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What is shown, without blanks at the ends of lines."""
        return [line.rstrip() for line in self.emulator.display]

    def _read(self) -> str:
        """What has been written since, if anything; raises OSError at the end."""
        if not select.select([self.fd], [], [], 0.2)[0]:
            return ""
        data = os.read(self.fd, 65536)
        self._stream.feed(data)
        return data.decode(errors="replace")

    def read_until(self, text: str, seconds: float = 120) -> str:
        """Waits until `text` is shown, or written if it is a control sequence. \return all that was written since."""
        if text.startswith("\x1b"):
            return self._read_until(lambda seen: text in seen, repr(text), seconds)
        return self._read_until(lambda seen: seen and any(text in line for line in self.lines), repr(text), seconds)

    def read_until_shown(self, condition: Callable[[list[str]], bool], what: str, seconds: float = 120) -> None:
        """Waits until what is shown fulfils the condition."""
        self._read_until(lambda _: condition(self.lines), what, seconds)

    def _read_until(self, condition: Callable[[str], Any], what: str, seconds: float) -> str:
        seen, until = "", time.monotonic() + seconds
        while not condition(seen):
            if time.monotonic() > until:
                raise Failure(f"{what} has not come; shown is:\n" + "\n".join(self.lines))
            try:
                seen += self._read()
            except OSError:
                raise Failure(f"ended before {what}; seen: {seen[-2000:]!r}") from None
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
            try:
                text += self._read()
            except OSError:
                break
        after = termios.tcgetattr(self.fd)
        status = int(self._word())
        os.waitpid(self._shell, 0)
        os.close(self.fd)
        os.close(self._pipe)
        return text, status, after
