# SPDX-License-Identifier: Apache-2.0
"""What call sites are called, and how much of a report is shown: the same in `dump`, `report` and `diff`."""
from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess

from .control import library
from .harness import Failure, Test

SITES = 70
# Functions that get their memory through one wrapper of malloc, and one that gets it through another, which no rule
# knows. A line on stdin makes another_site() allocate.
SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define APART __attribute__((noinline))
APART char* zmalloc(size_t n) { char* p = malloc(n); memset(p, 1, n); return p + (n == 1); }
APART char* get_buffer(size_t n) { char* p = malloc(n); memset(p, 1, n); return p + (n == 1); }
char* volatile kept;
#define KEEP(i) APART void keep_##i(void) { kept = zmalloc(200000); }
""" + "\n".join(f"KEEP({i})" for i in range(SITES)) + """
APART void another_site(void) { for (int i = 0; i < 40; ++i) kept = get_buffer(100000); }
int main(void) {
""" + "\n".join(f"  keep_{i}();" for i in range(SITES)) + """
  another_site();
  for (puts("up"), fflush(stdout); getchar() != EOF;) another_site(), puts("more"), fflush(stdout);
  for (;;) pause();
}
"""


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(SOURCE.splitlines(), 1) if text in line)


def start(t: Test, **env: str) -> int:
    program = t.compile("many", "-g", source=SOURCE)
    return t.start(program, env={"LD_PRELOAD": library(t), "ALLOC_SAMPLE_BYTES": "1", **env}).pid


def stdout(t: Test, *arguments: str, **env: str) -> str:
    done = t.run(*arguments, env=env)
    expect(done.status == 0, done)
    return done.stdout


def first_frames(text: str) -> list[str]:
    """What stands below each line of a table of call sites."""
    return re.findall(r"^ +\d+ .*(?: s| ms| min|-|[KMG]iB| B| new)\n {8}(.+)", text, re.M)


def test_site_names_of_a_wrapper_are_its_callers(t: Test) -> None:
    pid = start(t)
    brief = stdout(t, "dump", str(pid))
    lines = brief.splitlines()
    expect(lines[2] == "Verdict" and 60 < len(lines) <= 120, (len(lines), brief))
    shown = first_frames(brief)
    expect(len(shown) > 5 and all(re.match(r"(keep_\d+|get_buffer)  ", f) for f in shown), brief)
    expect(f"get_buffer  {t.dir}/many.c:{line_of('char* get_buffer')}  [many]\n        < another_site < main" in brief, brief)
    more = re.search(r"^  and (\d+) more sites\n  all call sites and figures: mallard report (\S+),", brief, re.M)
    expect(bool(more) and int(more[1]) + len(shown) >= SITES + 1, brief)
    # Nothing is lost: neither in the file nor with --full, nor of the stack.
    place = f"many.c:{line_of('char* zmalloc')}"
    full = stdout(t, "dump", "--full", str(pid))
    expect(f"          by way of zmalloc  {t.dir}/{place}  [many]\n" in full and len(full.splitlines()) > 300, full)
    written = (t.dir / more[2]).with_suffix(".txt").read_text()
    expect("          by way of zmalloc  [many]\n        main  [many]\n" in written, written)
    expect(written.splitlines()[-1].startswith("  cause") or "In short\n" in written[-600:], written[-600:])
    report = stdout(t, "report", more[2])
    expect(first_frames(report)[:5] == first_frames(full)[:5] and place in report, report)


def test_site_names_follow_the_users_list(t: Test) -> None:
    pid = start(t, ALLOC_WRAPPERS="get_*")
    path = re.search(r"mallard report (\S+),", stdout(t, "dump", str(pid)))[1]
    document = json.loads((t.dir / path).read_text())
    named = {document["frames"][s["stack"][s["named_by"]]]["function"] for s in document["sites"] if s["stack"]}
    expect("another_site" in named and "get_buffer" not in named and "zmalloc" not in named, named)
    rows = list(csv.DictReader(io.StringIO(stdout(t, "report", "--format", "csv", path))))
    expect({"another_site", "keep_0"} <= {r["function"] for r in rows}, rows[:3])
    # Of a report that was taken without the list, too.
    other = start(t)
    path = re.search(r"mallard report (\S+),", stdout(t, "dump", str(other)))[1]
    expect(any(f.startswith("get_buffer") for f in first_frames(stdout(t, "report", path))), "unknown to mallard")
    for how in (stdout(t, "report", "--wrappers", "x,get_buffer", path),
                stdout(t, "report", path, ALLOC_WRAPPERS="get_buffer"),
                stdout(t, "dump", "--wrappers", "get_buffer", str(other))):
        expect(any(f.startswith("another_site") for f in first_frames(how)) and
               not any(f.startswith("get_buffer") for f in first_frames(how)), how)


def test_site_numbers_and_lines_are_those_of_diff(t: Test) -> None:
    program = t.compile("many", "-g", source=SOURCE)
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=t.dir, text=True,
                               env={**os.environ, "LD_PRELOAD": library(t), "ALLOC_SAMPLE_BYTES": "1"})
    with process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        before = re.search(r"mallard report (\S+),", stdout(t, "dump", str(process.pid)))[1]
        process.stdin.write("x")
        process.stdin.flush()
        process.stdout.readline()
        after = re.search(r"mallard report (\S+),", stdout(t, "dump", str(process.pid)))[1]
        process.kill()
    changed = stdout(t, "diff", "--by", "live", before, after)
    grown = re.search(rf"^ +(\d+) .*\+3\.81 MiB.*\n        get_buffer  {t.dir}/many.c:{line_of('char* get_buffer')}  \[many\]$",
                      changed, re.M)
    expect(bool(grown), changed)
    document = json.loads((t.dir / after).read_text())
    site = next(s for s in document["sites"] if s["id"] == int(grown[1]))
    expect(document["frames"][site["stack"][0]]["function"] == "get_buffer", site)
    expect(re.search(rf"^ +{grown[1]} .*\n        get_buffer ", stdout(t, "report", after), re.M) is not None, "the report's number")
    expect(json.loads(stdout(t, "diff", "--by", "live", "--json", before, after))["sites"][0]["site_after"] == int(grown[1]), "JSON")


def test_diff_says_that_programs_differ(t: Test) -> None:
    pid, path = start(t), ""
    path = re.search(r"mallard report (\S+),", stdout(t, "dump", str(pid)))[1]
    document = json.loads((t.dir / path).read_text())
    expect("different" not in stdout(t, "diff", path, path), "the same report")
    executable = document["process"]["executable"]
    for module in document["modules"]:
        if module["path"] == executable:
            module["build_id"] = "00" * 20
    (t.dir / "rebuilt.json").write_text(json.dumps(document))
    expect("A and B ran different builds of many:" in stdout(t, "diff", path, "rebuilt.json"), "another build")
    document["process"]["executable"] = "/usr/bin/other"
    (t.dir / "other.json").write_text(json.dumps(document))
    told = stdout(t, "diff", path, "other.json")
    expect("A and B are of different programs, many and other:" in told, told)
    expect(json.loads(stdout(t, "diff", "--json", path, "other.json"))["same_program"] is False, "as JSON")
