# SPDX-License-Identifier: Apache-2.0
"""What /proc says about processes, and how to end a whole tree of them."""
from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import signal
import socket
import struct
import termios
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans of this process (daemons, too) stay its descendants, so that they can be ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2:].split()[1])


def without_root() -> dict[str, Any]:
    """What Popen needs for a server that refuses to be root's. Empty if this is not root, or there is no other user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    return {}


# Processes that outlive the test that started them, with all that they start: a browser that several tests use.
SHARED: set[int] = set()


def descendants(root: int) -> list[int]:
    """Every living descendant of `root`, parents before children; zombies too, but not what is in SHARED."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := parent_of(int(entry))) is not None:
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        for child in set(children.get(todo.pop(), [])) - SHARED:
            found.append(child)
            todo.append(child)
    return found


def state_of(pid: int) -> str:
    """The one-letter state, '' for a process that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return stat[stat.rindex(")") + 2:][:1]


def end_descendants(root: int, patience_seconds: float = 5.0) -> None:
    """SIGKILLs every descendant of `root` until none is left alive."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        alive = [pid for pid in descendants(root) if state_of(pid) not in ("", "Z")]
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        if root == os.getpid():
            reap_children()
        time.sleep(0.02)


def reap_children() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass


def status_field(pid: int, field: str) -> str:
    """A field of /proc/<pid>/status, '' if it is not there."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1].strip()
    return ""


def catches(pid: int, signal_number: int) -> bool:
    """Whether the process has a handler for the signal (SigCgt)."""
    mask = status_field(pid, "SigCgt")
    return bool(mask) and bool(int(mask, 16) >> (signal_number - 1) & 1)


def rss_bytes(pid: int) -> int:
    text = status_field(pid, "VmRSS")
    return int(text.split()[0]) * 1024 if text else 0


def executable_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def title_of(pid: int) -> str:
    """The command line, which servers use to say what a process is for; '' for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def unread(pipe: int) -> int:
    """How many bytes wait in a pipe, asked at either end."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def waits_for_input(pid: int, pipe: int) -> bool:
    """Whether the process has read all that was written to its pipe, and does nothing."""
    return unread(pipe) == 0 and state_of(pid) == "S"


def listens(path: Path) -> bool:
    """Whether somebody accepts connections at a unix socket; its file alone is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
