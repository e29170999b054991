# SPDX-License-Identifier: Apache-2.0
"""Forked children, daemons and exec'ed programs: reports of their own, with what was inherited."""
from __future__ import annotations

import os
import signal
from pathlib import Path

from support import processes
from support.compiler import build_case
from support.framework import Test, wait_until
from support.idle import finish_idle, start_idle
from support.marks import backends, every_backend
from support.reports import Report, ask, ask_and_check, check_written, report_files, wait_for_handler, wait_for_new

MIB = 2**20


def functions_of(report: Report) -> set[str]:
    return {frame["function"] for site in report.data["sites"] for frame in site["stack"]}


def check_child(t: Test, report: Report, pid: int) -> None:
    """8 MB inherited, 4 MB of its own: both are there, and told apart."""
    t.equal(report.data["process"]["pid"], pid, "pid of the child's report")
    t.check(report.data["process"]["forked_from_recorded_process"], "the report does not say it was forked")
    inherited = report.data["totals"]["inherited_live_bytes"]
    t.check(5 * MIB < inherited < 11 * MIB, f"inherited_live_bytes is {inherited} instead of about 8,000,000")
    live = report.data["totals"]["live_bytes"]
    t.check(8 * MIB < live < 16 * MIB, f"live_bytes is {live} instead of about 12,000,000")
    t.check("inherited" in report.text, "the text report does not mention what was inherited")
    missing = {"allocate_in_parent", "allocate_in_child"} - functions_of(report)
    t.check(not missing, f"no site names {missing}")


@every_backend
def test_forked_child_reports_for_itself(t: Test) -> None:
    # Fewer samples would now and then be out of the bounds by chance.
    process = start_idle(t, t.preload_env(ALLOC_SAMPLE_BYTES="4096"), program=build_case(t, "forked.c"))
    child = int(wait_until(lambda: t.output_of(process).split()[1:2], 5, "the child's pid")[0])
    t.check(processes.parent_of(child) == process.pid, "the child has another parent")
    of_child = ask_and_check(t, child)
    check_child(t, of_child, child)
    t.equal(of_child.data["process"]["parent_pid"], process.pid, "parent_pid")
    of_parent = ask_and_check(t, process)
    t.check(not of_parent.data["process"]["forked_from_recorded_process"], "the parent says it was forked")
    t.check("allocate_in_child" not in functions_of(of_parent), "the parent reports blocks of its child")
    again = ask_and_check(t, child)
    check_child(t, again, child)
    finish_idle(t, process)


@every_backend
def test_parent_reports_before_the_fork(t: Test) -> None:
    """The reporter thread exists when bash forks: the child must get its own."""
    process = start_idle(t, t.preload_env(ALLOC_SIGNAL="60"), program=Path(t.program("bash")),
                         words=["-c", "echo ready; read -r x; (sleep 30; true) & echo child $!; read -r y; "
                                "kill $!; echo ok"])
    ask_and_check(t, process, 60, min_sites=0)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    child = int(wait_until(lambda: t.output_of(process).partition("child ")[2].split(), 5, "the child")[0])
    wait_until(lambda: processes.descendants(child), 5, "the child to work")
    report, _ = ask(child, t.dir, 60)
    t.equal(report.data["process"]["pid"], child, "pid of the child's report")
    finish_idle(t, process)


@backends("system", "tcmalloc")
def test_asked_in_the_moment_of_its_birth(t: Test) -> None:
    """The signal may come before fork() has returned in the child: the request must not get lost."""
    children = 40
    done = t.run([build_case(t, "signal_right_after_fork.c"), str(children)],
                 t.preload_env(E2E_DIR=str(t.dir)), expect=None)
    pids = {int(path.name.split(".")[-3]) for path in report_files(t.dir)}
    t.check(len(pids) == children and done.status == 0,
            f"{children - len(pids)} of {children} children gave no report; {done.stderr[-200:].strip()}")


@backends("system", "jemalloc", "mimalloc2")
def test_daemon_reports(t: Test) -> None:
    note = t.dir / "daemon.pid"
    t.run([build_case(t, "forked.c"), "daemon", note], t.preload_env(ALLOC_SAMPLE_BYTES="4096"))
    pid = int(wait_until(lambda: note.exists() and note.read_text().strip(), 10, "the daemon's pid"))
    report = ask_and_check(t, pid)
    check_child(t, report, pid)
    os.kill(pid, signal.SIGKILL)


def test_children_of_a_busy_parent_report(t: Test) -> None:
    """fork_busy's children are asked in the middle of their short lives; none may die or hang of it."""
    done = t.run([build_case(t, "fork_busy.c")],
                 t.preload_env(ALLOC_AT_EXIT="1", ALLOC_SAMPLE_BYTES="8192"), seconds=55)
    t.check(done.stdout.endswith("ok\n"), f"fork_busy failed: {done.stderr[-300:]}")
    files = report_files(t.dir)
    # Every second child leaves by exit(), the others by _exit(), which writes nothing.
    t.equal(len(files), 151, "number of reports at exit")
    pids = set()
    for file in files:
        report = check_written(t, file)
        pids.add(report.data["process"]["pid"])
    t.equal(len(pids), 151, "number of processes that wrote them")


def test_exec_writes_for_the_new_program(t: Test) -> None:
    done = t.run([t.program("sh"), "-c", f"exec {build_case(t, 'idle.c')} </dev/null"],
                 t.preload_env(ALLOC_AT_EXIT="1"))
    files = report_files(t.dir)
    t.equal([file.name for file in files], [f"report.idle.{done.pid}.0001.json"], "reports")
    report = check_written(t, files[0], pid=done.pid)
    t.check(not report.data["process"]["forked_from_recorded_process"], "an exec'ed program says it was forked")


def test_signal_to_a_process_group(t: Test) -> None:
    """kill -USR2 -<group>: parent and child answer, each with its own pid."""
    process = start_idle(t, t.preload_env(), program=build_case(t, "forked.c"), start_new_session=True)
    child = int(wait_until(lambda: t.output_of(process).split()[1:2], 5, "the child's pid")[0])
    for pid in (process.pid, child):
        wait_for_handler(pid, signal.SIGUSR2)
    os.killpg(process.pid, signal.SIGUSR2)
    for pid in (process.pid, child):
        report = wait_for_new(pid, t.dir, set())
        t.equal(report.data["process"]["pid"], pid, "pid")
    finish_idle(t, process)
