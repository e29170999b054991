# SPDX-License-Identifier: Apache-2.0
"""What being preloaded costs a process that does nothing, and one that only forks."""
from __future__ import annotations

import os
import subprocess
import time

from .measure import BenchError, cpu_ns
from .subjects import Subject


def start_up_ns(subject: Subject, times: int) -> float:
    """\\return wall-clock nanoseconds per start of /bin/true"""
    environment = subject.environment()
    null = os.open(os.devnull, os.O_WRONLY)
    quiet = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    begin = time.monotonic_ns()
    for _ in range(times):
        child = os.posix_spawn("/bin/true", ["/bin/true"], environment, file_actions=quiet)
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise BenchError(f"/bin/true under {subject.name}: status {status}")
    spent = time.monotonic_ns() - begin
    os.close(null)
    return spent / times


FORKS = "for ((i = 0; i < 1000; ++i)); do (:); done"


def fork_script_ns(subject: Subject) -> float:
    """\\return CPU nanoseconds of a bash that forks 1,000 subshells, theirs included"""
    child = subprocess.Popen([*subject.wrapper, "bash", "-c", FORKS], env=subject.environment(),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cpu_ns(child, f"bash under {subject.name}")
