# SPDX-License-Identifier: Apache-2.0
"""Where reports go: patterns, fallbacks, and that nothing is followed or overwritten."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from support.compiler import build_case
from support.framework import Test, wait_until
from support.idle import finish_idle, mallard_lines, start_idle
from support.reports import ask_and_check, check_files, check_written, load, report_files, wait_for_handler


def talking_env(t: Test, **extra: str) -> dict[str, str]:
    """Of a library that says on any stderr what it has written, and where."""
    return t.preload_env(**{"ALLOC_VERBOSE": "1"} | extra)


def signalled(t: Test, process: subprocess.Popen[bytes], pattern: str = "wrote|cannot be written") -> str:
    """Sends SIGUSR2 and waits for the line that tells the outcome; gives it."""
    wait_for_handler(process.pid, signal.SIGUSR2)
    seen = len(mallard_lines(t.output_of(process, "stderr")))

    def outcome() -> str:
        lines = mallard_lines(t.output_of(process, "stderr"))[seen:]
        final = [line for line in lines if re.search(pattern, line) and "; trying" not in line]
        return final[-1] if final else ""

    process.send_signal(signal.SIGUSR2)
    return wait_until(outcome, 15, "mallard's line about the report")


def written_path(t: Test, line: str) -> Path:
    found = re.match(r"mallard: wrote (.*)\.txt \(and \.json\)$", line)
    t.check(found, f"'{line}' instead of 'mallard: wrote <path>.txt (and .json)'")
    assert found
    return Path(found.group(1) + ".json")


def test_pattern(t: Test) -> None:
    begin = int(time.time())
    env = talking_env(t, ALLOC_REPORT=str(t.dir / "p-%e-%p-%n-%t-100%%"))
    process = start_idle(t, env)
    names = [written_path(t, signalled(t, process)).name for _ in range(3)]
    finish_idle(t, process)
    for number, name in enumerate(names, 1):
        found = re.fullmatch(rf"p-idle-{process.pid}-{number:04d}-(\d+)-100%\.json", name)
        t.check(found, f"report {number} is called {name}")
        t.check(found and begin <= int(found.group(1)) <= time.time() + 1, f"%t is wrong in {name}")
    t.equal(sorted(path.name for path in report_files(t.dir)), sorted(names), "reports")


def test_default_name_in_the_current_directory(t: Test) -> None:
    env = talking_env(t)
    del env["ALLOC_REPORT"]
    process = start_idle(t, env, cwd=t.dir)
    signalled(t, process)
    check_written(t, t.dir / f"mallard.idle.{process.pid}.0001.json", pid=process.pid, min_sites=1)
    finish_idle(t, process)


def test_unwritable_directory_falls_back(t: Test) -> None:
    """First to $TMPDIR, then to /tmp, each step with a line that says so."""
    (t.tmp / "temporary").mkdir()
    for label, temporary, expected in (("tmpdir", str(t.tmp / "temporary"), t.tmp / "temporary"),
                                       ("no-tmpdir", "", Path("/tmp")),
                                       ("bad-tmpdir", "/nonexistent/either", Path("/tmp"))):
        env = talking_env(t, ALLOC_REPORT="/nonexistent/folder/fall.%e.%p.%n")
        env.pop("TMPDIR", None)
        if temporary:
            env["TMPDIR"] = temporary
        process = start_idle(t, env, label=label)
        path = written_path(t, signalled(t, process))
        try:
            t.equal(path.parent, expected, f"{label}: folder of the report")
            check_written(t, path, pid=process.pid, min_sites=1)
        finally:
            path.unlink(missing_ok=True)
            path.with_suffix(".txt").unlink(missing_ok=True)
        done = finish_idle(t, process)
        t.check("/nonexistent/folder" in done.stderr and "no such file or directory" in done.stderr.lower(),
                f"{label}: stderr does not say what could not be written: {done.stderr[-300:]}")


def test_unwritable_current_directory_falls_back(t: Test) -> None:
    (t.tmp / "temporary").mkdir()
    env = talking_env(t, TMPDIR=str(t.tmp / "temporary"))
    del env["ALLOC_REPORT"]
    process = start_idle(t, env, cwd="/proc")
    path = written_path(t, signalled(t, process))
    t.equal(path.parent, t.tmp / "temporary", "folder of the report")
    check_written(t, path, pid=process.pid)
    finish_idle(t, process)


def test_existing_files_are_never_touched(t: Test) -> None:
    """With %n the next free number is taken, whichever of the two names is in use, links included."""
    victim = t.dir / "victim"
    victim.write_text("precious")
    (t.dir / "r.0001.txt").write_text("mine")
    (t.dir / "r.0002.json").write_text("mine")
    (t.dir / "r.0003.json").symlink_to(victim)
    (t.dir / "r.0004.txt").symlink_to(t.dir / "dangling")
    (t.dir / "r.0005.json").mkdir()
    process = start_idle(t, talking_env(t, ALLOC_REPORT=str(t.dir / "r.%n")))
    t.equal(written_path(t, signalled(t, process)).name, "r.0006.json", "first free number")
    t.equal(written_path(t, signalled(t, process)).name, "r.0007.json", "number after it")
    finish_idle(t, process)
    t.equal(victim.read_text(), "precious", "the file behind the link")
    t.equal((t.dir / "r.0001.txt").read_text() + (t.dir / "r.0002.json").read_text(), "minemine", "old files")
    t.check(not (t.dir / "dangling").exists(), "a dangling link was followed")
    for number in (1, 2, 3, 4, 5):
        t.check(not ((t.dir / f"r.{number:04d}.txt").exists() and (t.dir / f"r.{number:04d}.json").exists()),
                f"half a pair was left behind for number {number}")


def test_fixed_name_in_use(t: Test) -> None:
    """Without %n there is no next number: the report goes elsewhere, with a line, and nothing is overwritten."""
    victim = t.dir / "victim"
    victim.write_text("precious")
    (t.tmp / "temporary").mkdir()
    (t.dir / "fixed.json").symlink_to(victim)
    process = start_idle(t, talking_env(t, ALLOC_REPORT=str(t.dir / "fixed"), TMPDIR=str(t.tmp / "temporary")))
    line = signalled(t, process)
    t.check("fixed" in line, f"no clear line about the fixed name: {line}")
    done = finish_idle(t, process)
    t.equal(victim.read_text(), "precious", "the file behind the link")
    t.check("file exists" in done.stderr.lower(), f"stderr does not give the reason: {done.stderr[-300:]}")
    if "wrote" in line:
        check_written(t, written_path(t, line), pid=process.pid)


def test_mode_is_0600_whatever_the_umask(t: Test) -> None:
    for umask in (0o000, 0o022, 0o077):
        process = start_idle(t, talking_env(t), umask=umask, label=f"umask-{umask:03o}")
        check_files(ask_and_check(t, process).json_path)
        finish_idle(t, process)


FULL_DISK_SCRIPT = '''
mount -t tmpfs -o size=64k,mode=1777 tmpfs "$1" || exit 97
head -c 60000 /dev/zero > "$1/filler"
shift
exec env LD_PRELOAD="$E2E_LIBRARY" "$@"
'''


def on_full_disk(t: Test, disk: Path, label: str, **extra: str) -> tuple[str, str, Path]:
    """Runs idle with its reports on a full disk, in a mount namespace of its own. Gives the line about the
    outcome, all of stderr, and the disk's path from outside."""
    unshare = t.program("unshare")
    probe = subprocess.run([unshare, "-m", "mount", "-t", "tmpfs", "tmpfs", str(t.tmp)], capture_output=True,
                           text=True)
    if probe.returncode != 0:
        t.skip(f"no private mount namespace is permitted here: {probe.stderr.strip()[:100]}")
    env = talking_env(t, ALLOC_REPORT=str(disk / "full.%p.%n"), E2E_LIBRARY=str(t.library), **extra)
    del env["LD_PRELOAD"]
    process = t.start([unshare, "-m", "sh", "-c", FULL_DISK_SCRIPT, "sh", disk, build_case(t, "idle.c")],
                      env, label=label, stdin=subprocess.PIPE, cwd="/")
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 10, "idle")
    line = signalled(t, process)
    left = [name for name in os.listdir(f"/proc/{process.pid}/root{disk}") if name.startswith("full.")]
    done = finish_idle(t, process)
    t.equal(left, [], "unfinished files on the full disk")
    return line, done.stderr, disk


def test_full_disk_falls_back(t: Test) -> None:
    disk, spare = t.tmp / "disk", t.tmp / "spare"
    disk.mkdir()
    spare.mkdir()
    line, said, _ = on_full_disk(t, disk, "full", TMPDIR=str(spare))
    path = written_path(t, line)
    t.equal(path.parent, spare, "folder of the report")
    check_written(t, path)
    t.check("no space left" in said.lower(), f"stderr does not give the reason: {said[-300:]}")


def test_full_disk_everywhere(t: Test) -> None:
    if str(t.build).startswith("/tmp/"):
        t.skip("the build directory is in /tmp, which this test covers with a full disk")
    line, said, _ = on_full_disk(t, Path("/tmp"), "full", TMPDIR="/tmp")
    t.check(line.startswith("mallard: error: report '") and "no space left" in line.lower(),
            f"no clear line about the full disk: {line}")
    errors = [text for text in mallard_lines(said) if "error" in text]
    t.equal(len(errors), 1, "number of error lines")


def test_stderr_closed(t: Test) -> None:
    """A host that closed descriptor 2, and opened a data file in its place, finds no text of ours in it."""
    data = t.dir / "data"
    process = start_idle(t, talking_env(t), program=build_case(t, "closed_stderr.c"), words=[str(data)])
    wait_for_handler(process.pid, signal.SIGUSR2)
    process.send_signal(signal.SIGUSR2)
    wait_until(lambda: report_files(t.dir) and load(report_files(t.dir)[0]), 15, "the report")
    time.sleep(0.1)
    finish_idle(t, process)
    t.equal(data.read_text(), "data\n", "the host's data file")
