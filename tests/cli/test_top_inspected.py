# SPDX-License-Identifier: Apache-2.0
"""`mallard top` of a process without mallard: its ledger as `mallard inspect` takes it, reading after reading."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from .control import HOLDER
from .harness import Failure, Skip, Test
from .screen import LEAVES_SCREEN, Screen
from .test_inspect import ON_MUSL, kilobytes
from .test_inspect import start as start_readable
from .test_top_processes import bytes_of, near

# Keeps 20 MiB more for each line that it is sent.
GROWING = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  static void* kept[1 << 20];
  int count = 0;
  for (;;) {
    for (int i = 0; i < 20 << 10; ++i) kept[count++] = memset(malloc(1000), 1, 1000);
    puts("up");
    fflush(stdout);
    if (getchar() == EOF) return 0;
    getchar();
  }
}
"""
ROW = re.compile(r"^ +(-?[\d.]+ \w+) +(-?[\d.]+) % +(-|[+-][\d.]+ \w+) +(-|[+-][\d.]+ \w+)  (\w.*?)(?:  |$)", re.M)


def start(t: Test, source: str = HOLDER) -> int:
    return start_readable(t, t.compile("holder", source=source)).pid


def rows_of(screen: str) -> dict[str, tuple[float, str, str]]:
    """Of each cause its bytes, and both changes as they are shown."""
    return {cause: (bytes_of(size), change, last) for size, _, change, last, cause in ROW.findall(screen)}


def test_the_ledger_is_that_of_inspect(t: Test) -> None:
    pid = start_readable(t, t.compile("ledger_holder", source=HOLDER)).pid
    found = json.loads(t.run("inspect", "--json", str(pid)).stdout)
    for way in (str(pid), "ledger_holder"):
        done = t.run("top", "-b", "-n", "1", way)
        t.expect(done, 0, f"mallard top: ledger_holder ({pid}), up ", ", not recorded", "Heap      system glibc 2.",
                 "Changes   from the next ledger on", "; verdict retention",
                 f"Not recorded, so no call sites; mallard attach {pid} records them from now on")
    rows = rows_of(done.stdout)
    words = {"live": "live blocks", "holes": "holes on pinned pages", "retained": "retained free", "files": "files"}
    for line in found["ledger"]:
        if line["bytes"] > 1 << 16 and line["cause"] in words:
            near(line["cause"], rows[words[line["cause"]]][0], line["bytes"], 0.05)
    near("all rows", sum(size for size, _, _ in rows.values()), kilobytes(pid, "Rss"), 0.02)
    if any(change != "-" or last != "-" for _, change, last in rows.values()) or done.stderr:
        raise Failure(f"one ledger tells no change:\n{done.stdout}\n{done.stderr}")


def test_changes_count_from_the_first_ledger(t: Test) -> None:
    process = start_readable(t, t.compile("growing", source=GROWING))
    process.kill()
    process = subprocess.Popen([t.dir / "growing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    process.stdout.readline()
    top = subprocess.Popen([t.mallard, "top", "-b", "-d", "0.2", "--sort", "growth", str(process.pid)],
                           stdout=subprocess.PIPE, text=True)
    assert top.stdout
    text, grown, last_change = "", 0.0, 0.0
    try:
        for line in top.stdout:
            text += line
            row = re.match(r" *\S+ \S+ +\S+ % +([+-]\S+ \S+) +([+-]\S+ \S+)  live blocks", line)
            if not row:
                if "  live blocks" in line:  # the first ledger
                    process.stdin.write(b"x\n")
                    process.stdin.flush()
                continue
            grown, last_change = bytes_of(row[1]), bytes_of(row[2])
            if grown > 19e6 and last_change == 0:
                break  # it has stood still since
    finally:
        top.kill()
        top.wait()
        process.kill()
        process.wait()
    near("growth", grown, 1008 * 20 * 1024, 0.05)
    if last_change != 0 or not re.search(r"Changes   resident \+(19|20)\.\d MiB in ", text):
        raise Failure(f"the last change is {last_change}:\n{text[-3000:]}")


def test_it_goes_on_as_another_program_and_ends_with_it(t: Test) -> None:
    t.compile("holder", source=HOLDER)
    first = t.compile("first", source='#include <unistd.h>\n#include <stdio.h>\nint main(void) { puts("up"); fflush(stdout); '
                      'getchar(); execl("./holder", "./holder", NULL); return 1; }')
    process = subprocess.Popen([first], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=t.dir)
    top = subprocess.Popen([t.mallard, "top", "-b", "-d", "0.1", str(process.pid)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert top.stdout and top.stderr and process.stdin
    try:
        while "cause" not in top.stdout.readline():
            pass
        process.stdin.close()
        seen = ""
        while "It has become another program, holder: changes count from here\n" not in seen or "retained free" not in seen:
            line = top.stdout.readline()
            if not line:
                raise Failure(f"it ended: {top.stderr.read()}; {seen}")
            seen += line
    finally:
        process.kill()
        process.wait()
    error = top.communicate(timeout=120)[1]
    if top.returncode != 0 or error != f"mallard: process {process.pid} ('first') has ended\n":
        raise Failure(f"status {top.returncode}: {error}")


def test_it_turns_to_call_sites_and_back(t: Test) -> None:
    """Attached to meanwhile, and detached."""
    pid = start(t)
    top = subprocess.Popen([t.mallard, "top", "-b", "-d", "0.2", str(pid)], stdout=subprocess.PIPE, text=True)
    assert top.stdout

    def read_until(words: str) -> None:
        for line in top.stdout:
            if words in line:
                return
        raise Failure(f"it ended before '{words}'")

    try:
        read_until("not recorded")
        if t.run("attach", str(pid)).status != 0:
            raise Skip("it cannot be attached to here")
        read_until("mode sample, a sample per")
        t.expect(t.run("detach", str(pid)), 0)
        read_until("not recorded")
        read_until("holes on pinned pages")
    finally:
        top.kill()
        top.wait()


def test_what_inspect_refuses_is_refused(t: Test) -> None:
    ended = t.start("sh", "-c", "echo up")
    while "Z" not in Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        pass
    t.expect(t.run("top", "-b", str(ended.pid)), 3, error="has ended, and has no memory any more")
    ended.wait()
    t.expect(t.run("top", "-b", str(ended.pid)), 3, error=f"process {ended.pid} cannot be read: No such process")
    t.expect(t.run("top", "-b", "no-such-program"), 3, error="no process is called")
    if os.geteuid() != 0:
        return
    pid = start(t)
    try:
        done = subprocess.run([t.mallard, "top", "-b", "-n", "1", str(pid)], capture_output=True, text=True, user=65534,
                              group=65534, extra_groups=[], cwd="/", check=False)
    except PermissionError:
        raise Skip("the build lies where another user does not get to") from None
    if done.returncode != 3 or done.stdout or f"process {pid} ('holder') cannot be looked at" not in done.stderr or \
            "sudo" not in done.stderr or len(done.stderr.splitlines()) > 2:
        raise Failure(f"{done}")


def test_programs_that_cannot_be_attached_to(t: Test) -> None:
    pid = start_readable(t, t.compile("static_holder", "-static", source=HOLDER)).pid
    t.expect(t.run("top", "-b", "-n", "1", str(pid)), 0, "Heap      system glibc", "holes on pinned pages",
             "Not recorded, so no call sites: it is static, and nothing can be loaded into it")
    pid = start_readable(t, t.compile("on_musl", source=ON_MUSL, compiler="musl-gcc"), "8").pid
    t.expect(t.run("top", "-b", "-n", "1", "--rows", "2", str(pid)), 0, "Heap      musl mallocng", "holes on pinned pages",
             "Not recorded, so no call sites: the recorder needs glibc, and this is musl")


def test_keys_of_an_inspected_process(t: Test) -> None:
    pid = start(t)
    screen = Screen(t, "-d", "0.5", str(pid))
    screen.read_until("holes on pinned pages")
    screen.press("h")
    screen.read_until_shown(lambda lines: lines[0].startswith("Keys of mallard top, of a process that is not recorded") and
                            "Any key goes back." in lines, "the help")
    screen.press(" ")
    screen.read_until("Resident")
    screen.press("C")
    screen.read_until("Key C sorts call sites. Not recorded")
    screen.press("x")
    screen.read_until("There is no key 'x': h shows the keys")
    screen.press("dtoo long\n")
    screen.read_until("'too long' cannot be used")
    screen.press("G")
    screen.read_until(">change")
    screen.press("L")
    screen.read_until(">resident")
    screen.press("\n")
    screen.read_until_shown(lambda lines: lines[0].startswith("Inspection of holder (") and any("Verdict" in line for line in lines),
                            "the inspection")
    screen.press("\x1bOF")  # End
    screen.read_until_shown(lambda lines: any(f"mallard inspect --full {pid}" in line for line in lines), "its end")
    screen.press("\n")
    screen.read_until("Resident")
    screen.press("z")
    screen.read_until("Changes   from the next ledger on")
    screen.read_until("Changes   resident +0 B in ")
    screen.press("q")
    text, status, _ = screen.end()
    if status != 0 or LEAVES_SCREEN not in text:
        raise Failure(f"status {status}, at the end: {text[-200:]!r}")


def test_an_inspected_process_fits_its_screen(t: Test) -> None:
    pid = start(t)

    def is_whole(lines: list[str]) -> bool:
        begins = [line.partition(" ")[0] for line in lines[:7]]
        return begins == ["mallard", "Resident", "Heap", "Changes", "Process", "Ledger", "Not"] and \
            "cause" in lines[7] and "retained free" in lines[8] and f"mallard attach {pid}" in lines[6]

    for columns, lines in ((80, 24), (200, 50), (60, 12)):
        screen = Screen(t, "-d", "0.2", str(pid), columns=columns, lines=lines)
        screen.read_until_shown(is_whole, f"a whole screen of {columns}x{lines}")
        screen.press("\n")
        screen.read_until("Inspection of")
        screen.resize(columns + 30, lines + 3)
        screen.press("q")
        screen.read_until_shown(is_whole, f"a whole screen of {columns + 30}x{lines + 3}")
        os.kill(screen.pid, signal.SIGTERM)
        if (status := screen.end()[1]) != -signal.SIGTERM:
            raise Failure(f"status {status}")


def test_a_ledger_leaves_the_process_alone(t: Test) -> None:
    process = start_readable(t, sys.executable, "-c", "import time; print('up', flush=True); time.sleep(1000)")
    schedule = Path(f"/proc/{process.pid}/schedstat")
    before = schedule.read_text()
    t.expect(t.run("top", "-b", "-n", "3", "-d", "0.1", str(process.pid)), 0, "Changes   resident +0 B in ")
    if schedule.read_text() != before:
        raise Failure(f"it was scheduled: {before} has become {schedule.read_text()}")
