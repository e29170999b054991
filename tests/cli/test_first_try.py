# SPDX-License-Identifier: Apache-2.0
"""What somebody types who has never read the manual, and what a terminal of 80 columns shows of it."""
from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from . import harness
from .control import HOLDER, library
from .harness import Checked, Failure, Skip, Test
from .test_golden_outputs import DATA

AFTER = DATA / "after.json"


def holder(t: Test, name: str = "holder-of-memory", mallard: bool = True) -> int:
    env = {"LD_PRELOAD": library(t)} if mallard else {}
    return t.start(t.compile(name, source=HOLDER), env=env).pid


def expect_report(t: Test, done: Checked, pid: int) -> None:
    if done.status != 0 or f"pid {pid}," not in done.stdout:
        raise Failure(f"status {done.status}, no report of {pid}: {done.stdout[:300]}{done.stderr}")


def on_terminal(t: Test, *arguments: str | Path, **options: Any) -> str:
    return harness.on_terminal([t.mallard, *arguments], t.dir, **options)


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# ---- processes by id and by name
def test_a_process_alone_is_dumped(t: Test) -> None:
    pid = holder(t)
    expect_report(t, t.run(str(pid)), pid)
    expect_report(t, t.run("holder-of-memory"), pid)
    expect_report(t, t.run("dump", "holder-of-memory"), pid)
    expect_report(t, t.run("dump", "--timeout", "100", "./holder-of-memory".removeprefix("./")), pid)


def test_of_several_the_one_with_mallard_is_meant(t: Test) -> None:
    holder(t, "two-of-them", mallard=False)
    pid = holder(t, "two-of-them")
    expect_report(t, t.run("dump", "two-of-them"), pid)


def test_several_are_listed_on_one_screen(t: Test) -> None:
    pids = [holder(t, "many-of-them") for _ in range(18)]
    done = t.run("dump", "many-of-them")
    t.expect(done, 2, error="18 processes are called 'many-of-them'")
    lines = done.stderr.splitlines()
    if len(lines) > 22 or str(min(pids)) not in done.stderr or "and 3 more" not in lines[-1]:
        raise Failure(done.stderr)
    shown = on_terminal(t, "dump", "many-of-them", errors=True)
    if any(len(line) > 80 for line in without_colour(shown).splitlines()):
        raise Failure(f"more than 80 columns: {shown}")


def test_no_process_of_that_name(t: Test) -> None:
    t.expect(t.run("dump", "nobody-has-this-name"), 3, error="no process is called 'nobody-has-this-name'")
    for command in ("top", "mode", "purge"):
        t.expect(t.run(command, "nobody-has-this-name"), 3, error="no process is called 'nobody-has-this-name'")


def test_words_that_mean_nothing(t: Test) -> None:
    t.expect(t.run("nobody-has-this-name"), 2, error="there is no subcommand 'nobody-has-this-name', and no process")
    t.expect(t.run("dmup"), 2, error="did you mean 'mallard dump'?")
    t.expect(t.run("env"), 2, error="mallard run -- env starts it")
    t.expect(t.run("run", "--bakend", "jemalloc", "--", "true"), 2, error="did you mean --backend?")


def test_help_and_version(t: Test) -> None:
    for words in (["help"], ["--help"]):
        t.expect(t.run(*words), 0, "Examples:", "dump")
    if t.run("help", "dump").stdout != t.run("dump", "--help").stdout:
        raise Failure("mallard help dump is not mallard dump --help")
    t.expect(t.run("help", "frobnicate"), 2, error="there is no subcommand 'frobnicate'")
    for word in ("-v", "-V", "--version"):
        t.expect(t.run(word), 0, "mallard ")


# ---- a process that is starting
def test_run_and_dump_in_one_breath(t: Test) -> None:
    t.compile("starting", source=HOLDER)
    for _ in range(3):
        done = subprocess.run(["sh", "-c", '"$0" run -- ./starting >/dev/null & "$0" dump $!; s=$?; kill $!; exit $s', t.mallard],
                              cwd=t.dir, capture_output=True, text=True, check=False)
        if done.returncode != 0 or "Where the resident memory is" not in done.stdout:
            raise Failure(f"status {done.returncode}: {done.stdout[:300]}{done.stderr}")


def test_a_fork_that_becomes_the_program_later(t: Test) -> None:
    t.compile("starting", source=HOLDER)
    script = '(sleep 1; exec "$0" run -- ./starting) >/dev/null & "$0" dump $!; s=$?; kill $!; exit $s'
    done = subprocess.run(["sh", "-c", script, t.mallard], cwd=t.dir, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "Where the resident memory is" not in done.stdout:
        raise Failure(f"status {done.returncode}: {done.stdout[:300]}{done.stderr}")


def test_a_process_without_mallard_is_not_waited_for(t: Test) -> None:
    pid = holder(t, "without", mallard=False)
    t.expect(t.run(str(pid)), 0, "inspection of without", error=f"process {pid} was not started with mallard")


# ---- reports
def test_report_html_is_format_html(t: Test) -> None:
    done = t.run("report", "--html", "-o", "page.html", AFTER)
    if "was built without" in done.stderr:
        raise Skip("this build has no HTML page")
    if done.status != 0:
        raise Failure(done.stderr)
    if not (t.dir / "page.html").read_text().startswith("<!"):
        raise Failure("page.html is no page")


def test_a_json_file_alone_is_reported(t: Test) -> None:
    if t.run(AFTER).stdout != t.run("report", AFTER).stdout:
        raise Failure("mallard FILE.json is not mallard report FILE.json")


def test_a_pprof_profile_is_called_one(t: Test) -> None:
    if t.run("report", "--format", "pprof", "-o", "heap.pb.gz", AFTER).status != 0:
        raise Failure("no profile was made")
    (t.dir / "heap.pb").write_bytes(gzip.decompress((t.dir / "heap.pb.gz").read_bytes()))
    for name in ("heap.pb.gz", "heap.pb"):
        t.expect(t.run("report", name), 3, error=f"'{name}' is a pprof profile, and no report of mallard")
    (t.dir / "other.gz").write_bytes(gzip.compress(AFTER.read_bytes()))
    t.expect(t.run("report", "other.gz"), 3, error="'other.gz' is compressed by gzip")


# ---- terminals
def test_a_report_fits_the_terminal(t: Test) -> None:
    for columns in (80, 100, 200):
        shown = without_colour(on_terminal(t, "report", AFTER, columns=columns))
        wide = [line for line in shown.splitlines() if len(line) > columns]
        if wide or "Call sites by resident memory" not in shown:
            raise Failure(f"{len(wide)} lines have more than {columns} columns: {wide[:3]}")
        if shown.replace("\n", "").count("external_fragmentation") != 2 or "next step" not in shown[-900:]:
            raise Failure(f"the verdict does not stand last: {shown[-900:]}")
    words = t.run("report", AFTER).stdout.split()
    narrow = without_colour(on_terminal(t, "report", AFTER)).split()
    if Counter(words) - Counter(narrow):  # some stand twice: the conclusion is repeated
        raise Failure("words are lost where lines are broken")


def test_a_report_of_an_ended_process_says_so_to_people(t: Test) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    text = AFTER.read_text().replace('"pid":4711', f'"pid":{ended.pid}').replace('"pid": 4711', f'"pid": {ended.pid}')
    (t.dir / "of-the-dead.json").write_text(text)
    words = f"process {ended.pid} has ended, or is not on this machine"
    if words not in on_terminal(t, "report", "of-the-dead.json", errors=True):
        raise Failure("it is not said that nobody can be asked")
    if "has ended" in t.run("report", "of-the-dead.json").stderr:
        raise Failure("it is said in a pipe")
    alive = text.replace(str(ended.pid), str(os.getpid()))
    (t.dir / "of-the-living.json").write_text(alive)
    if "has ended" in on_terminal(t, "report", "of-the-living.json", errors=True):
        raise Failure("a process that is there has not ended")


def test_colour_on_terminals_alone(t: Test) -> None:
    if "\x1b[1mVerdict\x1b[0m" not in on_terminal(t, "report", AFTER):
        raise Failure("the heading is not set off")
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        if "\x1b" in on_terminal(t, "report", AFTER, **env):
            raise Failure(f"colour in spite of {env}")
    if "\x1b" in t.run("report", AFTER).stdout:
        raise Failure("colour in a pipe")


# ---- scripts
def script(t: Test, name: str, text: str) -> Path:
    path = t.dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_check_looks_through_env(t: Test) -> None:
    t.compile("interpreter")
    path = f"{t.dir}:{os.environ['PATH']}"
    for line in ("/usr/bin/env interpreter", "/usr/bin/env -S interpreter -u", "/usr/bin/env -i -u HOME A=1 interpreter",
                 "/usr/bin/env --split-string=interpreter"):
        script(t, "by-env", f"#!{line}\n")
        t.expect(t.check("./by-env", env={"PATH": path}), 0, f"run by '{t.dir}/interpreter'")


def test_check_looks_through_a_wrapper(t: Test) -> None:
    """A shell script that sets variables and ends by exec, as that of chromium does."""
    (t.dir / "lib/browser").mkdir(parents=True)
    t.compile("lib/browser/browser")
    script(t, "browser", f'#!/bin/sh\nNAME=browser\nexport LIBDIR={t.dir}/lib/$NAME\nFLAGS=""\n'
                         'want=0\nif [ $want -eq 0 ]; then\n  exec $DEBUGGER "$LIBDIR/${NAME:-x}" $FLAGS "$@"\nfi\n')
    t.expect(t.check("./browser"), 0, f"which becomes '{t.dir}/lib/browser/browser'", f"\n{t.dir}/lib/browser/browser\n")
    script(t, "beside", '#!/bin/bash\nhere=$(cd "$(dirname "$0")" && pwd)\nexec "$here/lib/browser/browser" "$@"\n')
    t.expect(t.check("./beside"), 0, f"which becomes '{t.dir}/lib/browser/browser'")
    script(t, "unknown", '#!/bin/sh\nprogram=$(choose-one)\nexec "$program" "$@"\nexec >/dev/null\n')
    t.expect(t.check("./unknown"), 0, "'./unknown' is a script, run by '/bin/sh'")


def test_check_looks_through_a_shim(t: Test) -> None:
    root = t.dir / ".pyenv"
    for version in ("3.1", "3.2"):
        (root / "versions" / version / "bin").mkdir(parents=True)
        t.compile(f".pyenv/versions/{version}/bin/python3")
    (root / "version").write_text("3.1\n")
    shim = script(t, ".pyenv/shims/python3", "#!/usr/bin/env bash\nexec pyenv exec python3\n")
    t.expect(t.check(shim), 0, f"is a shim, which runs '{root}/versions/3.1/bin/python3'")
    t.expect(t.check(shim, env={"PYENV_VERSION": "3.2"}), 0, f"is a shim, which runs '{root}/versions/3.2/bin/python3'")
    (t.dir / ".python-version").write_text("3.2\n")
    t.expect(t.check(shim), 0, f"is a shim, which runs '{root}/versions/3.2/bin/python3'")


def test_libraries_that_need_each_other_stand_once(t: Test) -> None:
    source = "int {0}(void); int {1}(void) {{ return 0 ? {0}() : 0; }}\n"
    t.compile("libone.so", "-shared", "-fPIC", "-Wl,-soname,libone.so", source=source.format("two", "one"))
    for name, other in (("two", "one"), ("one", "two")):
        t.compile(f"lib{name}.so", "-shared", "-fPIC", f"-Wl,-soname,lib{name}.so", "-Wl,--no-as-needed",
                  f"-L{t.dir}", f"-l{other}", "-Wl,-rpath,$ORIGIN", source=source.format(other, name))
    paths = [Path(each["path"]).name for each in t.check_json("./libone.so")["objects"]]
    if sorted(paths) != sorted(set(paths)) or "libtwo.so" not in paths:
        raise Failure(f"objects: {paths}")


def test_check_speaks_of_the_heaps_of_runtimes(t: Test) -> None:
    t.compile("libjli.so", "-shared", "-fPIC", "-Wl,-soname,libjli.so", source="int launch(void) { return 0; }\n")
    t.compile("java", f"-L{t.dir}", "-Wl,--no-as-needed", "-ljli", "-Wl,-rpath,$ORIGIN")
    t.expect(t.check("./java"), 0, "note: starts a Java virtual machine", "jcmd PID GC.class_histogram",
             verdict="mallard will see every malloc of 'java', and not what lies in the Java heap")


# ---- musl
def test_run_leaves_a_musl_program_alone(t: Test) -> None:
    """A program whose loader has musl's name: it is started, and not told to preload."""
    loader = t.dir / "ld-musl-x86_64.so.1"
    loader.write_bytes(Path("/lib64/ld-linux-x86-64.so.2").read_bytes())
    loader.chmod(0o755)
    source = '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv("LD_PRELOAD") ? "preloaded" : "alone"); ' \
             "return 5; }\n"
    t.compile("of-musl", f"-Wl,--dynamic-linker={loader}", source=source)
    done = subprocess.run([t.mallard, "run", "--", "./of-musl"], cwd=t.dir, capture_output=True, text=True, check=False)
    if (done.returncode, done.stdout) != (5, "alone\n"):
        raise Failure(f"status {done.returncode}: {done.stdout}{done.stderr}")
    if not re.fullmatch(r"mallard: warning: .*uses musl.*; it runs without mallard\n", done.stderr):
        raise Failure(f"standard error is {done.stderr!r}")
    strict = subprocess.run([t.mallard, "run", "--strict", "--", "./of-musl"], cwd=t.dir, capture_output=True, text=True,
                            check=False)
    if (strict.returncode, strict.stdout) != (78, ""):
        raise Failure(f"--strict: status {strict.returncode}: {strict.stdout}{strict.stderr}")


def test_tables_without_a_row_are_left_out(t: Test) -> None:
    report = json.loads(AFTER.read_text())
    for site in report["sites"]:
        site.update({name: 0 for name in site if name.startswith("hole_bytes")})
    (t.dir / "full.json").write_text(json.dumps(report))
    for by, shown in (("live", True), ("holes", False)):
        done = t.run("report", "--by", by, "full.json")
        if done.status != 0 or ("Functions by" in done.stdout) != shown or ("Modules by" in done.stdout) != shown:
            raise Failure(f"--by {by}: status {done.status}: {done.stdout[-600:]}")
