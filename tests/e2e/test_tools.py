# SPDX-License-Identifier: Apache-2.0
"""Everyday tools: sqlite3, git, gcc, and bash that forks a lot."""
from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from support import processes
from support.framework import REPOSITORY, Failure, Test, wait_until
from support.marks import every_backend
from support.reports import ask_and_check, check_written, report_files

from .test_languages import conversation

SIGUSR2 = 12
OWN_SIGNAL = 60  # bash treats SIGUSR2 as a signal that ends it

SQL_FIRST = '''
create table t(id integer primary key, name text, amount real, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, 'name' || (i * 7919 % 4001), (i * 31 % 10007) / 7.0, hex(i * 2654435761) || hex(i) from n;
create index by_name on t(name);
create index by_amount on t(amount, id);
create table u as select name, count(*) c, round(sum(amount), 3) s, group_concat(note, '/') g from t group by name;
.print ready
'''
SQL_SECOND = '''
delete from t where id % 3 = 0;
update t set note = note || note where amount > 700;
select 'checksum', count(*), round(sum(amount), 3), sum(length(note)) from t;
select name, count(*), max(note) from t group by name order by 2 desc, 1 limit 20;
select sum(length(g)), count(*), max(g) > min(g) from u;
select count(*) from t a join t b on a.name = b.name where a.id < 2000;
pragma integrity_check;
'''


def sqlite_session(t: Test, env: dict[str, str], label: str, signalled: bool) -> list[str]:
    process = t.start([t.program("sqlite3"), "-batch", t.tmp / f"{label}.db"], env, label=label,
                      stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(SQL_FIRST.encode())
    process.stdin.flush()
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 40, "sqlite3")
    if signalled and process.poll() is None:
        ask_and_check(t, process, min_sites=2)
    process.stdin.write(SQL_SECOND.encode())
    process.stdin.close()
    return t.finish(process).stdout.splitlines()


@every_backend
@pytest.mark.timeout(90)
def test_sqlite3(t: Test) -> None:
    expected = t.baseline("sqlite3", lambda: sqlite_session(t, t.plain_env(), "plain", False))
    t.check(len(expected) > 20 and expected[-1] == "ok", f"plain sqlite3 said {expected}")
    t.equal(sqlite_session(t, t.preload_env(ALLOC_SAMPLE_BYTES="65536"), "sqlite3", True), expected,
            "output of sqlite3")


# -- git
def git(t: Test, *words: str | Path) -> str:
    done = subprocess.run([t.program("git"), "-c", "safe.directory=*", *map(str, words)], text=True,
                          capture_output=True, env=git_env(t.plain_env()), cwd=t.tmp)
    if done.returncode != 0:
        raise Failure(f"git {' '.join(map(str, words))}: {done.stderr.strip()[-300:]}")
    return done.stdout


def git_env(env: dict[str, str]) -> dict[str, str]:
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "e2e"), ("EMAIL", "e2e@test.invalid"),
                               ("DATE", "2020-01-01T00:00:00Z"))}
    return env | who | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def prepare_git_source(t: Test) -> str:
    """A clone of this repository (or of an invented one) that grows by a few seeded megabytes."""
    source = t.session / "git-source"
    repository = REPOSITORY
    if (repository / ".git").exists():
        git(t, "clone", "-q", "--no-local", f"file://{repository}", source)
    else:
        git(t, "init", "-q", source)
    seeded = random.Random(5)
    for number in range(900):
        path = source / "grown" / f"d{number % 30}" / f"f{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join("%x" % seeded.getrandbits(90) for _ in range(seeded.randrange(50, 800))))
    git(t, "-C", source, "add", "-A")
    git(t, "-C", source, "commit", "-q", "-m", "grown")
    return str(source)


def git_facts(t: Test, clone: Path) -> list[str]:
    git(t, "-C", clone, "fsck", "--full", "--strict")
    return [hashlib.sha256(git(t, "-C", clone, "log", "--format=%H %T %s", "--all").encode()).hexdigest(),
            git(t, "-C", clone, "status", "--porcelain"), git(t, "-C", clone, "rev-parse", "HEAD^{tree}")]


# Stands between git and what serves it: when 256 KiB have passed, nothing goes on until the file $1.go is there.
GATE = '''#!/bin/sh
gate=$0
git upload-pack "$@" | env -u LD_PRELOAD python3 -c '
import os, sys, time
passed = 0
while piece := os.read(0, 65536):
    while piece:
        piece = piece[os.write(1, piece):]
        passed += 1
    if passed >= 4 and not os.path.exists(sys.argv[1] + ".go"):
        open(sys.argv[1] + ".held", "w").close()
        while not os.path.exists(sys.argv[1] + ".go"):
            time.sleep(0.01)
' "$gate"
'''


@every_backend
@pytest.mark.timeout(90)
def test_git_clone(t: Test) -> None:
    source = t.baseline("git-source", lambda: prepare_git_source(t))

    def plain() -> list[str]:
        git(t, "clone", "-q", "--no-local", f"file://{source}", t.tmp / "plain")
        return git_facts(t, t.tmp / "plain")

    expected = t.baseline("git-facts", plain)
    env = git_env(t.preload_env(ALLOC_SAMPLE_BYTES="4096"))
    gate = t.tmp / "gate"
    gate.write_text(GATE)
    gate.chmod(0o755)
    clone = t.start([t.program("git"), "-c", "safe.directory=*", "clone", "-q", "--no-local", "--upload-pack", gate,
                     f"file://{source}", t.tmp / "clone"], env, label="clone")
    wait_until(lambda: (t.tmp / "gate.held").exists() or clone.poll() is not None, 20, "the clone to get its data")
    ask_and_check(t, clone)
    (t.tmp / "gate.go").touch()
    t.finish(clone)
    t.equal(git_facts(t, t.tmp / "clone"), expected, "log, status and tree of the clone")
    log = t.run([t.program("git"), "-c", "safe.directory=*", "-C", t.tmp / "clone", "log", "--stat",
                 "--format=%H %s"], env)
    t.equal(log.stdout, git(t, "-C", t.tmp / "clone", "log", "--stat", "--format=%H %s"), "git log --stat")
    t.run([t.program("git"), "-c", "safe.directory=*", "-C", t.tmp / "clone", "fsck", "--full"], env)


# -- gcc
def c_source() -> tuple[str, str]:
    """Enough for about a second at -O2, and the end of it, which is a file of its own."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    for n in range(220):
        lines.append(
            f"static long f{n}(long a, const char* s) {{ long r = a; for (size_t i = 0; i < strlen(s); i++) {{ "
            f"switch (s[i] % 7) {{ case 0: r += {n} * i; break; case 1: r ^= r << {n % 13 + 1}; break; "
            f"case 2: r -= f{max(n - 1, 0)}(r >> 3, \"k\"); break; case 3: r *= 3; break; default: "
            f"r += (long)s[i] * {n + 1}; }} if (r & {n + 1}) r = (r / {n + 2}) + (r % 11); }} return r; }}")
    calls = " + ".join(f"f{n}(c, v[0])" for n in range(220))
    end = f"int main(int c, char** v) {{ printf(\"%ld\\n\", {calls}); return 0; }}\n"
    return "\n".join([*lines, '#include "end.h"\n']), end


def source_folder(t: Test, name: str) -> Path:
    folder = t.tmp / name
    folder.mkdir()
    (folder / "input.c").write_text(c_source()[0])
    return folder


def compile_plain(t: Test) -> str:
    folder = source_folder(t, "plain")
    (folder / "end.h").write_text(c_source()[1])
    t.run([t.program("gcc"), "-O2", "-c", "input.c", "-o", "out.o"], t.plain_env(), label="plain", cwd=folder)
    return hashlib.sha256((folder / "out.o").read_bytes()).hexdigest()


def end_of_source(path: Path) -> int | None:
    """The other end of the pipe that the compiler includes; None until it has read all that comes before."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@every_backend
@pytest.mark.timeout(90)
def test_gcc(t: Test) -> None:
    expected = t.baseline("gcc", lambda: compile_plain(t))
    folder = source_folder(t, "own")
    os.mkfifo(folder / "end.h")
    driver = t.start([t.program("gcc"), "-O2", "-c", "input.c", "-o", "out.o"],
                     t.preload_env(ALLOC_AT_EXIT="1", ALLOC_SAMPLE_BYTES="65536"), label="gcc", cwd=folder)

    def compiler() -> int | None:
        return next((pid for pid in processes.descendants(driver.pid)
                     if os.path.basename(processes.executable_of(pid)) == "cc1"
                     and processes.catches(pid, SIGUSR2)), None)

    pid = wait_until(compiler, 20, "cc1 to catch SIGUSR2")
    pipe = wait_until(lambda: end_of_source(folder / "end.h"), 60, "cc1 to come to the last line")
    ask_and_check(t, pid, min_sites=2)
    with open(pipe, "w") as to_compiler:
        to_compiler.write(c_source()[1])
    t.finish(driver)
    t.equal(hashlib.sha256((folder / "out.o").read_bytes()).hexdigest(), expected, "hash of the object file")
    for tool in ("cc1", "gcc", "as"):
        found = [path for path in report_files(t.dir) if f"report.{tool}" in path.name or
                 f".x86_64-linux-gnu-{tool}" in path.name]
        t.check(found, f"no report at the exit of {tool}; there are {[p.name for p in report_files(t.dir)]}")
        check_written(t, found[-1])


# -- bash
BASH_SCRIPT = '''
total=0
for i in $(seq 1 200); do total=$((total + $(echo $((i * i % 17))))); done
text=$(for i in $(seq 1 3000); do echo "line $i of some text to hold"; done)
echo ready
read -r line
for i in $(seq 1 150); do /bin/true && total=$((total + 1)); done
for i in $(seq 1 50); do total=$((total + $(printf '%s\\n' a b c | wc -l))); done
children=()
for i in $(seq 1 10); do (sleep 0.01; exit $((i % 3))) & children+=($!); done
for child in "${children[@]}"; do wait "$child"; total=$((total + $?)); done
echo "checksum $total ${#text} $(printf '%s' "$text" | cksum)"
'''


@every_backend
@pytest.mark.timeout(90)
def test_bash_forks(t: Test) -> None:
    """More than 500 forks: command substitutions, pipelines, exec'ed programs, background jobs."""
    script = t.tmp / "forks.sh"
    script.write_text(BASH_SCRIPT)
    argv: list[str | Path] = [t.program("bash"), script]
    expected = t.baseline("bash", lambda: conversation(t, argv, t.plain_env(), "plain", signalled=False))
    env = t.preload_env(ALLOC_SIGNAL=str(OWN_SIGNAL), ALLOC_SAMPLE_BYTES="4096")
    process = t.start(argv, env, label="bash", stdin=subprocess.PIPE)
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 40, "bash")
    ask_and_check(t, process, OWN_SIGNAL)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    t.equal(t.finish(process).stdout.splitlines(), expected, "output of the script")
