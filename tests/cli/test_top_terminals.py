# SPDX-License-Identifier: Apache-2.0
"""`mallard top` and its terminal: put back on every signal, left and entered again by Ctrl-Z and fg, or refused."""
from __future__ import annotations

import os
import signal
import subprocess
import termios
import time

from .control import start
from .harness import Failure, Test
from .screen import ENTERS_SCREEN, LEAVES_SCREEN, SHOWS_CURSOR, Screen

# Twelve call sites, each larger than the next.
MANY_SITES = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n" + "".join(
    f"__attribute__((noinline)) void site_{letter}(void) {{ for (int i = 0; i < {(12 - i) * 40}; ++i) malloc(1000); }}\n"
    for i, letter in enumerate("abcdefghijkl")) + "int main(void) {\n" + "".join(
    f"  site_{letter}();\n" for letter in "abcdefghijkl") + '  puts("up");\n  fflush(stdout);\n  for (;;) pause();\n}\n'

# Whose default is not to end the process, or that cannot be caught.
HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN,
            signal.SIGTTOU, signal.SIGKILL, signal.SIGSTOP}


def test_top_puts_the_terminal_back(t: Test) -> None:
    pid = start(t)
    real_time = {signal.SIGRTMIN + i for i in range(1, 30)}
    deadly = sorted(signal.valid_signals() - HARMLESS - real_time)
    for number in deadly:
        screen = Screen(t, str(pid))
        before = screen.settings
        screen.read_until("Resident")
        if termios.tcgetattr(screen.fd) == before:
            raise Failure("the terminal's settings are what they were: nothing is tested here")
        os.kill(screen.pid, number)
        name = signal.Signals(number).name
        text, status, after = screen.end()
        if status != -number or LEAVES_SCREEN not in text or SHOWS_CURSOR not in text:
            raise Failure(f"{name}: status {status}, at the end: {text[-200:]!r}")
        if after != before:
            raise Failure(f"{name}: the terminal's settings are {after}, they were {before}")
    print(f"    {len(deadly)} signals: screen, cursor and settings are back after each")


def wait_for_state(pid: int, state: str) -> None:
    for _ in range(3000):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            now = stat.read().rpartition(")")[2].split()[0]
        if now == state:
            return
        time.sleep(0.02)
    raise Failure(f"process {pid} is in state {now}, expected {state}")


def test_top_stops_and_goes_on(t: Test) -> None:
    for number in (signal.SIGTSTP, signal.SIGSTOP):
        screen = Screen(t, str(start(t)))
        before = screen.settings
        screen.read_until("Resident")
        os.kill(screen.pid, number)
        wait_for_state(screen.pid, "T")
        if number == signal.SIGTSTP:
            screen.read_until(LEAVES_SCREEN)
            if termios.tcgetattr(screen.fd) != before:
                raise Failure("stopped, it leaves the terminal's settings changed")
        os.kill(screen.pid, signal.SIGCONT)
        screen.read_until(ENTERS_SCREEN)
        screen.read_until_shown(lambda lines: lines[1].startswith("Resident"), "the screen that it enters again")
        screen.press("h")
        screen.read_until("Keys of mallard top")
        screen.press("q")
        screen.press("q")
        text, status, after = screen.end()
        if status != 0 or LEAVES_SCREEN not in text or after != before:
            raise Failure(f"{number.name}: status {status}, at the end: {text[-200:]!r}, settings {after}")


def test_top_ignores_what_it_was_started_ignoring(t: Test) -> None:
    """nohup, and `trap '' INT` in a script."""
    screen = Screen(t, str(start(t)), ignoring=(signal.SIGHUP, signal.SIGUSR1, signal.SIGINT))
    screen.read_until("Resident")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
        os.kill(screen.pid, number)
    screen.press("h")
    screen.read_until("Keys of mallard top")
    os.kill(screen.pid, signal.SIGTERM)
    if (status := screen.end()[1]) != -signal.SIGTERM:
        raise Failure(f"status {status}")


def test_top_in_a_terminal_that_does_not_read(t: Test) -> None:
    """Ctrl-S holds the output back: the first signal is not seen, the second one ends it."""
    screen = Screen(t, "-d", "0.1", str(start(t)))
    screen.read_until("Resident")
    screen.press("\x13")
    time.sleep(0.5)
    for _ in range(600):  # two that come before it has seen the first are one
        try:
            os.kill(screen.pid, signal.SIGTERM)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    text, status, _ = screen.end()
    if status != -signal.SIGTERM or LEAVES_SCREEN not in text:
        raise Failure(f"status {status}, at the end: {text[-200:]!r}")


def test_top_needs_a_terminal_with_a_screen(t: Test) -> None:
    pid = start(t)
    for terminal, message in (("dumb", "mallard: error: the terminal 'dumb' cannot show a screen: it prints line "
                                       "after line\r\nmallard: hint: use --batch, which does the same"),
                              ("none-such", "mallard: error: the terminal 'none-such' is not known here\r\n"
                                            "mallard: hint: set TERM=xterm, or use --batch\r\n"),
                              ("", "mallard: error: the environment does not say which terminal this is: TERM is "
                                   "not set\r\nmallard: hint: set TERM=xterm, or use --batch\r\n")):
        screen = Screen(t, str(pid), terminal=terminal)
        text, status, after = screen.end()
        if status != 2 or not text.startswith(message) or after != screen.settings:
            raise Failure(f"TERM={terminal}: status {status}, output {text!r}")
    done = subprocess.run([t.mallard, "top", "-b", "-n", "1", str(pid)], env={"PATH": os.environ["PATH"]},
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 or "Resident" not in done.stdout or done.stderr:
        raise Failure(f"--batch without TERM: status {done.returncode}, {done.stdout!r}, {done.stderr!r}")


def test_top_ends_with_its_terminal(t: Test) -> None:
    """Also where no SIGHUP comes: it must not go on reading a terminal that is gone."""
    ours, its = os.openpty()
    top = subprocess.Popen([t.mallard, "top", "-d", "600", str(start(t))], stdin=its, stdout=its, stderr=its,
                           env=os.environ | {"TERM": "xterm"}, start_new_session=True)
    os.close(its)
    if not os.read(ours, 1):
        raise Failure("it shows nothing")
    os.close(ours)
    try:
        status = top.wait(120)
    except subprocess.TimeoutExpired:
        top.kill()
        raise Failure("it goes on without its terminal") from None
    if status not in (-signal.SIGHUP, 3):
        raise Failure(f"status {status}, expected that of SIGHUP")


def test_top_help_fits_the_smallest_terminal(t: Test) -> None:
    screen = Screen(t, str(start(t)))
    screen.read_until("Resident")
    screen.press("h")
    screen.read_until("Any key goes back.")
    for words in ("and resident memory by site", "errors", "a report", "takes that off, and adds locked files."):
        if not any(words in line for line in screen.lines):
            raise Failure(f"{words!r} is cut off:\n" + "\n".join(screen.lines))
    screen.press("q")
    screen.press("q")
    screen.end()


def test_top_shows_the_largest_row_again_after_a_resize(t: Test) -> None:
    screen = Screen(t, str(start(t, MANY_SITES, ALLOC_SAMPLE_BYTES="64")))
    screen.read_until_shown(lambda lines: sum("site_" in line for line in lines) >= 10, "rows of ten sites")
    largest = next(line for line in screen.lines if "site_" in line)
    name = largest[largest.index("site_"):][:7]
    for _ in range(6):
        screen.press("\x1bOB")  # the sixth row is selected
    screen.resize(80, 11)  # there is room for three rows: the selected one stays in sight
    screen.read_until_shown(lambda lines: len(lines) == 11 and not any(name in line for line in lines),
                            "the selected row, and not the largest")
    screen.resize(80, 24)
    screen.read_until_shown(lambda lines: any(name in line for line in lines), f"{name}, which is the largest row")
    screen.press("q")
    screen.end()
