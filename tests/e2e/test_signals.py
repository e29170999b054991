# SPDX-License-Identifier: Apache-2.0
"""ALLOC_SIGNAL by name, by number, and none. What the host does with the signal: cases/sig_*.c."""
from __future__ import annotations

import os
import signal

from support import processes
from support.framework import Test
from support.idle import finish_idle, mallard_lines, start_idle
from support.reports import ask_and_check, check_written, report_files

SPELLINGS = {"SIGUSR1": signal.SIGUSR1, "USR1": signal.SIGUSR1, "usr1": signal.SIGUSR1,
             "10": signal.SIGUSR1, "SIGWINCH": signal.SIGWINCH, "60": 60, "SIGRTMIN": signal.SIGRTMIN,
             "SIGRTMIN+5": signal.SIGRTMIN + 5, "RTMIN+3": signal.SIGRTMIN + 3}


def test_chosen_by_name_or_number(t: Test) -> None:
    for text, number in SPELLINGS.items():
        process = start_idle(t, t.preload_env(ALLOC_SIGNAL=text), label="as-" + text.replace("+", "-"))
        ask_and_check(t, process, int(number))
        t.check(not processes.catches(process.pid, signal.SIGUSR2), f"{text}: SIGUSR2 is caught as well")
        finish_idle(t, process)


def test_default_is_sigusr2_only(t: Test) -> None:
    process = start_idle(t, t.preload_env())
    caught = int(processes.status_field(process.pid, "SigCgt"), 16)
    t.equal(caught, 1 << (signal.SIGUSR2 - 1), "mask of caught signals")
    ask_and_check(t, process)
    finish_idle(t, process)


def test_none_leaves_signals_alone(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_SIGNAL="none"))
    t.equal(int(processes.status_field(process.pid, "SigCgt"), 16), 0, "mask of caught signals")
    os.kill(process.pid, signal.SIGUSR2)
    t.finish(process, expect=-signal.SIGUSR2)
    t.equal(report_files(t.dir), [], "reports")


def test_bad_name_keeps_the_default(t: Test) -> None:
    for text in ("SIGNOTHING", "999", "-3", "SIGKILL", "9", "12x"):
        process = start_idle(t, t.preload_env(ALLOC_SIGNAL=text), label=f"as-{text}")
        ask_and_check(t, process)
        done = finish_idle(t, process)
        lines = mallard_lines(done.stderr)
        t.check(any("ALLOC_SIGNAL" in line and text in line for line in lines),
                f"ALLOC_SIGNAL={text} gives no clear line: {lines}")


def test_at_exit_without_a_signal(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_AT_EXIT="1", ALLOC_SIGNAL="none"))
    finish_idle(t, process)
    files = report_files(t.dir)
    t.equal(len(files), 1, "number of reports")
    report = check_written(t, files[0], pid=process.pid)
    t.equal(report.data["reason"], "exit", "reason")
