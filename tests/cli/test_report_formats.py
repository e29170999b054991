# SPDX-License-Identifier: Apache-2.0
"""`mallard report`: every format of a real report, and wrong use."""
from __future__ import annotations

import ast
import base64
import csv
import difflib
import gzip
import io
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.framework import REPOSITORY
from support.marks import extra
from support.report_schema import expanded, faults_of

from . import browser
from .harness import Failure, Skip, Test

INLINING = """
#include <cstdlib>
#include <cstring>
namespace store {
struct Cache {
  __attribute__((always_inline)) inline void* make(std::size_t n) {
    return std::malloc(n);  // line of make
  }
  __attribute__((always_inline)) inline void* insert(std::size_t n) {
    return std::memset(make(n), 1, n);  // line of insert
  }
};
__attribute__((noinline)) void fill(Cache& cache, int count) {
  for (int i = 0; i < count; ++i) cache.insert(1000);  // line of fill
}
}
__attribute__((noinline)) void fill_less(int count) {
  for (int i = 0; i < count; ++i) std::memset(std::malloc(3000), 1, 3000);
  asm volatile("");
}
int main() {
  store::Cache cache;
  store::fill(cache, 9000);
  fill_less(1000);
  return 0;
}
"""
PROTO = REPOSITORY / "cli" / "report" / "profile.proto"
FIGURES = ["inuse_resident", "inuse_holes", "inuse_space", "inuse_objects", "alloc_space", "alloc_objects",
           "peak_inuse_space"]


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def line_of(word: str) -> int:
    return next(i for i, line in enumerate(INLINING.splitlines(), 1) if f"line of {word}" in line)


def compile_cxx(t: Test, name: str = "inlining") -> Path:
    return t.compile(name, "-g", "-O2", compiler="g++", source=INLINING)  # g++ takes a .c file for C++


def report_of(t: Test, program: Path, name: str = "r") -> Path:
    done = t.run("run", "--sample-bytes", "16K", "--at-exit", "--report", f"{name}.%n", "--", program)
    path = t.dir / f"{name}.0001.json"
    expect(done.status == 0 and path.exists(), done)
    return path


def good(t: Test, *arguments: str | Path) -> str:
    done = t.run("report", *arguments)
    expect(done.status == 0 and not done.stderr, done)
    return done.stdout


def test_report_as_text(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    text = good(t, report)
    source = t.dir / "inlining.c"
    lines = [f"store::Cache::make(unsigned long)  {source}:{line_of('make')}  [inlining]  inlined",
             f"store::Cache::insert(unsigned long)  {source}:{line_of('insert')}  [inlining]  inlined",
             f"store::fill(store::Cache&, int)  {source}:{line_of('fill')}  [inlining]"]
    expect("\n        ".join(lines) in text, text)
    for part in ("\nVerdict\n", "\nWhere the resident memory is\n", "resident (RSS)", "Call sites by resident memory"):
        expect(part in text, (part, text))
    expect(text.index("store::fill") < text.index("fill_less(int)"), text)
    one = good(t, report, "--limit", "1", "--by", "live", "--depth", "1")
    expect("fill_less" not in one and "main  [" not in one and "store::fill" in one and "more with --limit" in one, one)
    focused = good(t, report, "--focus", "^fill_.*ss", "--by", "count")
    expect("fill_less" in focused and "store::fill" not in focused and "more without --focus" in focused, focused)
    by_file = good(t, report, "--focus", "inlining[.]c$")
    expect("store::fill" in by_file, by_file)


def live_of(report: dict, function: str) -> int:
    """Live bytes of the sites that have `function` in their stacks."""
    frames = report["frames"]
    return sum(site["live_bytes"] for site in report["sites"]
               if any((frames[i]["function"] or "").startswith(function) for i in site["stack"]))


def test_report_as_json(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    before, after = json.loads(report.read_text()), json.loads(good(t, report, "--format", "json", "--by", "live"))
    changed, added = {"sites", "frames", "ledger"}, {"functions", "module_totals"}
    expect({k: v for k, v in before.items() if k not in changed} ==
           {k: v for k, v in after.items() if k not in changed | added}, "all else stays")
    expect(list(before) == [key for key in after if key not in added] and added <= set(after), "in the same order")
    fill = next(f for f in after["functions"] if f["name"] == "store::fill(store::Cache&, int)")
    expect(fill["sites"] == 1 and fill["live"] == live_of(after, "store::fill"), fill)
    [program] = [m for m in after["module_totals"] if m["name"] == "inlining"]
    expect(program["sites"] == len(after["sites"]), program)
    expect(len(before["sites"]) == len(after["sites"]), "every site stays")
    live = [site["live_bytes"] for site in after["sites"]]
    expect(live == sorted(live, reverse=True), live)
    expect(not faults_of(after), faults_of(after))
    top = expanded(after)["sites"][0]["stack"]
    expect([f["inlined"] for f in top[:3]] == [True, True, False], top)
    expect([f["line"] for f in top[:3]] == [line_of(w) for w in ("make", "insert", "fill")], top)
    expect(top[0]["pc"] == top[2]["pc"] and top[0]["offset"] is None and top[2]["offset"] > 0, top)
    expect(good(t, report, "--format", "text") == good(t, "--format", "text", report), "repeatable")


def test_report_as_folded_and_csv(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    sites = json.loads(report.read_text())["sites"]
    folded = dict(line.rsplit(" ", 1) for line in good(t, report, "--format", "folded", "--by", "live").splitlines())
    stack = next(s for s in folded if "store::fill" in s)
    expect(stack.endswith(";main;store::fill(store::Cache&, int);store::Cache::insert(unsigned long);"
                          "store::Cache::make(unsigned long)"), stack)
    expect(sum(map(int, folded.values())) == sum(s["live_bytes"] for s in sites), folded)
    rows = list(csv.DictReader(io.StringIO(good(t, report, "--format", "csv"))))
    expect(len(rows) == len(sites) and [r["rank"] for r in rows] == [str(i + 1) for i in range(len(rows))], rows)
    by_id = {str(s["id"]): s for s in sites}
    for row in rows:
        for figure in ("resident_bytes", "hole_bytes", "live_bytes", "live_count", "allocated_bytes",
                       "allocated_count"):
            expect(row[figure] == str(by_id[row["site"]][figure]), row)
        low = by_id[row["site"]]["live_bytes_low"]
        expect(row["live_bytes_low"] == ("" if low is None else str(low)), row)
    expect(rows[0]["stack"].startswith(f"store::Cache::make(unsigned long) ({t.dir}/inlining.c:{line_of('make')}) < "),
           rows[0])


def test_report_as_csv_stays_small(t: Test) -> None:
    """Eight functions of a stack, each at most 90 columns wide; --depth asks for more return addresses."""
    facts = json.loads(report_of(t, compile_cxx(t)).read_text())
    facts["frames"] = [{"pc": hex(i + 1), "module": None, "address": "0x0", "function": f"f{i}" + "x" * 5000, "offset": 0}
                       for i in range(60)]
    for line in facts["ledger"]:
        line["details"] = []
    facts["sites"] = [dict(facts["sites"][0], id=i, stack=list(range(60))) for i in range(1000)]
    (t.dir / "deep.json").write_text(json.dumps(facts))
    text = good(t, t.dir / "deep.json", "--format", "csv")
    first = next(csv.DictReader(io.StringIO(text)))["stack"].split(" < ")
    expect(len(text) < 1_200_000 and [f[:2] for f in first] == [*(f"f{i}" for i in range(8)), "52"], (len(text), first))
    deep = next(csv.DictReader(io.StringIO(good(t, t.dir / "deep.json", "--format", "csv", "--depth", "30"))))
    expect(len(deep["stack"].split(" < ")) == 30, deep)


def test_report_as_speedscope(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    found = json.loads(good(t, report, "--format", "speedscope", "--by", "live"))
    expect(found["$schema"] == "https://www.speedscope.app/file-format-schema.json", found["$schema"])
    expect(set(found) <= {"$schema", "shared", "profiles", "name", "activeProfileIndex", "exporter"}, set(found))
    frames = found["shared"]["frames"]
    expect(all(isinstance(f["name"], str) and set(f) <= {"name", "file", "line", "col"} for f in frames), frames)
    expect(len(found["profiles"]) == 6, len(found["profiles"]))
    for p in found["profiles"]:
        expect(set(p) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}, set(p))
        expect(p["type"] == "sampled" and p["unit"] in ("bytes", "none"), p["unit"])
        expect(len(p["samples"]) == len(p["weights"]) and p["endValue"] - p["startValue"] == sum(p["weights"]), p)
        expect(all(0 <= i < len(frames) for sample in p["samples"] for i in sample), "indexes")
    active = found["profiles"][found["activeProfileIndex"]]
    expect(active["name"] == "live bytes", active["name"])
    names = [frames[i]["name"] for i in active["samples"][0]]
    expect(names[-3:] == ["store::fill(store::Cache&, int)", "store::Cache::insert(unsigned long)",
                          "store::Cache::make(unsigned long)"], names)


SPEEDSCOPE = "speedscope@1.25.0"


def test_report_is_shown_by_speedscope(t: Test) -> None:
    """speedscope's own page, as npm has it, imports the file and draws it."""
    program = browser.find()
    if not shutil.which("npm") or program is None:
        raise Skip("there is no npm" if program else "there is no chromium to run speedscope in")
    place = t.dir / "speedscope"
    place.mkdir()
    (place / "package.json").write_text("{}")
    # It has no use for what its package depends on: that opens a browser.
    fetched = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", SPEEDSCOPE],
                             cwd=place, capture_output=True, text=True, timeout=120, check=False)
    if fetched.returncode != 0:
        raise Skip(f"npm does not bring {SPEEDSCOPE}: {(fetched.stderr.strip().splitlines() or ['no reason'])[-1][:200]}")
    text = good(t, report_of(t, compile_cxx(t)), "--format", "speedscope")
    load = place / "load.js"  # what speedscope's command writes for its page
    load.write_text(f'speedscope.loadFileFromBase64("heap.json", "{base64.b64encode(text.encode()).decode()}")')
    page = place / "node_modules/speedscope/dist/release/index.html"
    with browser.Browser(program) as b:
        b.open(page, fragment=f"localProfilePath={load}")
        shown = ""
        for _ in range(500):
            shown = b.run("document.title + ' | ' + document.body.innerText")
            if "(1/6)" in shown:
                break
            time.sleep(0.2)
    found = json.loads(text)
    expect(found["name"] in shown and found["profiles"][found["activeProfileIndex"]]["name"] + " (1/6)" in shown, shown)


def decoded(plain: bytes) -> dict[str, list[Any]]:
    """What protoc makes of it: nested lists by field name."""
    if not shutil.which("protoc"):
        raise Skip("there is no protoc")
    done = subprocess.run(["protoc", f"--proto_path={PROTO.parent}", "--decode=mallard.pprof.Profile", PROTO.name],
                          input=plain, capture_output=True, check=False)
    expect(done.returncode == 0, done.stderr)
    root: dict[str, list[Any]] = {}
    open_messages = [root]
    for line in done.stdout.decode().splitlines():
        line = line.strip()
        if line.endswith(" {"):
            message: dict[str, list[Any]] = {}
            open_messages[-1].setdefault(line[:-2], []).append(message)
            open_messages.append(message)
        elif line == "}":
            open_messages.pop()
        else:
            key, _, value = line.partition(": ")
            open_messages[-1].setdefault(key, []).append({"true": True, "false": False}.get(value) or ast.literal_eval(value))
    return root


def pprof_of(t: Test, report: Path) -> Path:
    out = t.dir / "heap.pb.gz"
    expect(good(t, report, "--format", "pprof", "-o", out) == "", "nothing on standard output")
    return out


def test_report_as_pprof(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    facts = json.loads(report.read_text())
    profile = decoded(gzip.decompress(pprof_of(t, report).read_bytes()))
    texts = profile["string_table"]
    expect(texts[0] == "", texts[0])
    expect([texts[s["type"][0]] for s in profile["sample_type"]] == FIGURES, profile["sample_type"])
    expect([texts[s["unit"][0]] for s in profile["sample_type"]] == ["bytes"] * 3 + ["count", "bytes", "count", "bytes"], "units")
    expect(texts[profile["default_sample_type"][0]] == "inuse_resident", profile["default_sample_type"])
    expect(profile["period"] == [16384] and profile["time_nanos"] == [facts["taken_at_ns"]], "period, time")
    mappings = profile["mapping"]
    expect(texts[mappings[0]["filename"][0]] == facts["process"]["executable"], "the executable comes first")
    ids = {m["path"]: m["build_id"] for m in facts["modules"]}
    expect(all(texts[m["build_id"][0]] == ids[texts[m["filename"][0]]] if "build_id" in m else True
               for m in mappings), "build-ids")
    locations = {loc["id"][0]: loc for loc in profile["location"]}
    functions = {f["id"][0]: texts[f["name"][0]] for f in profile["function"]}
    top = profile["sample"][0]
    expect(len(profile["sample"]) == len(facts["sites"]) and all(len(s["value"]) == 7 for s in profile["sample"]),
           "samples")
    lines = [(functions[x["function_id"][0]], x["line"][0]) for x in locations[top["location_id"][0]]["line"]]
    expect(lines == [("store::Cache::make(unsigned long)", line_of("make")),
                     ("store::Cache::insert(unsigned long)", line_of("insert")),
                     ("store::fill(store::Cache&, int)", line_of("fill"))], lines)
    for i, field in enumerate(("resident_bytes", "hole_bytes", "live_bytes", "live_count", "allocated_bytes",
                               "allocated_count", "at_peak_bytes")):
        expect(sum(s["value"][i] for s in profile["sample"]) == sum(s[field] for s in facts["sites"]), field)


@extra  # the first run of pprof compiles much of Go; test_report_as_pprof decodes the same file by its schema
def test_report_is_read_by_pprof(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    # Go's own installer puts it beside PATH.
    tools = [["go", "tool", "pprof"], ["/usr/local/go/bin/go", "tool", "pprof"], ["google-pprof"], ["pprof"]]
    tool = next((c for c in tools if shutil.which(c[0]) and
                 subprocess.run([*c, "-h"], capture_output=True, check=False).returncode in (0, 2)), None)
    if tool is None or tool[0] == "google-pprof":  # gperftools' script reads only its own older format
        raise Skip("there is no pprof that reads profile.proto (go tool pprof)")
    done = subprocess.run([*tool, "-top", "-sample_index=inuse_space", pprof_of(t, report)], capture_output=True,
                          text=True, timeout=60, check=False)
    expect(done.returncode == 0 and "store::Cache::make" in done.stdout and "Type: inuse_space" in done.stdout, done)


def test_report_used_wrongly(t: Test) -> None:
    report, huge = report_of(t, compile_cxx(t)), t.dir / "huge.json"
    huge.write_text('{"schema_version": 1e400}\n')
    (t.dir / "empty.json").touch()
    (t.dir / "array.json").write_text("[]")
    for arguments, status, message in (
            (("--format", "xml", report), 2, "--format: xml not in {"),
            (("--by", "size", report), 2, "--by: size not in {"),
            (("--limit", "0", report), 2, "--limit: '0' is no number from 1 up"),
            (("--depth", "x", report), 2, "--depth: 'x' is no number from 1 up"),
            (("--focus", "(", report), 2, "--focus '(' is no regular expression: Unmatched ( or \\("),
            ((), 2, "FILE is required"),
            ((t.dir / "none.json",), 3, f"'{t.dir}/none.json' cannot be opened: No such file or directory"),
            ((t.dir,), 3, f"'{t.dir}' cannot be read: Is a directory"),
            ((report.with_suffix(".txt"),), 3, "is no JSON report: it breaks off or changes at byte 1"),
            ((report, "-o", t.dir / "no" / "out"), 3, f"'{t.dir}/no/out' cannot be written: No such file"),
            ((huge,), 3, f"'{huge}' is no report: number overflow parsing '1e400'"),
            ((t.dir / "empty.json",), 3, f"'{t.dir}/empty.json' is empty\nmallard: hint: the process ended, or"),
            ((t.dir / "array.json",), 3, "array.json' is JSON, but no report of mallard: it is no object"),
            ((report, "--fail-on", ""), 2, "--fail-on: no condition is given, such as leak or holes>100M"),
            ((report, "-o", "/dev/full"), 3, "'/dev/full' cannot be written: No space left on device")):
        done = t.run("report", *arguments)
        expect(done.status == status and done.stderr.startswith("mallard: error: ") and message in done.stderr,
               (arguments, done))
        expect(len(done.stderr.splitlines()) <= 2 and not done.stdout, done)
    with report.open("rb") as stream:
        done = subprocess.run([t.mallard, "report", "-", "--limit", "1"], stdin=stream, capture_output=True,
                              text=True, check=False)
    expect(done.returncode == 0 and "store::fill" in done.stdout, done)


def test_report_survives_hostile_files(t: Test) -> None:
    whole = report_of(t, compile_cxx(t)).read_text()
    facts = json.loads(whole)
    bad = t.dir / "bad.json"

    def changed(change: Any) -> str:
        copy = json.loads(whole)
        change(copy)
        return json.dumps(copy)

    first = facts["sites"][0]["stack"][0]
    hostile: list[tuple[str, tuple[int, ...]]] = [
        ("[" * 1_000_000, (3,)), ('{"a":' * 100_000, (3,)), ("1e99999", (3,)), ("\0" * 100, (3,)), ("null", (3,)),
        ("\xff\xfe", (3,)), ('{"schema_version": 1}', (3,)), ('{"schema_version": "1"}', (3,)),
        (changed(lambda r: r.update(sites={"a": 1})), (3,)), (changed(lambda r: r.update(modules=[1, 2])), (3,)),
        (changed(lambda r: r["frames"][first].update(pc="0x")), (3,)),
        (changed(lambda r: r["frames"][first].update(pc="-5")), (3,)),
        (changed(lambda r: r["frames"][first].update(offset=-1)), (3,)),
        (changed(lambda r: r["frames"][first].update(module=len(r["modules"]))), (3,)),
        (changed(lambda r: r["frames"][first].update(module="x")), (3,)),
        (changed(lambda r: r["sites"][0].update(stack=[len(r["frames"])])), (3,)),
        (changed(lambda r: r["sites"][0].update(stack=[-1])), (3,)),
        (changed(lambda r: r["sites"][0].update(stack=[0.5])), (3,)),
        (changed(lambda r: r["ledger"][0].update(details=[{"frame": 1 << 40}])), (3,)),
        (changed(lambda r: r.update(frames={})), (3,)),
        (changed(lambda r: r["sites"][0].update(live_bytes=[1])), (3,)),
        (changed(lambda r: r.update(taken_at_ns=1e300)), (3,)),
        (changed(lambda r: [s.update(resident_bytes=1e300, live_bytes=-1e300) for s in r["sites"]]), (0,)),
        (changed(lambda r: r["frames"][first].update(address="0xffffffffffffffff", pc="0x0")), (0,)),
        (changed(lambda r: r["modules"][0].update(begin="0xffffffffffffffff", end="0x0")), (0,)),
        (changed(lambda r: [m.update(path="/dev/zero") for m in r["modules"]]), (0,)),
        (changed(lambda r: [m.update(path="") for m in r["modules"]]), (0,)),
        (changed(lambda r: [m.update(build_id="zz/../..") for m in r["modules"]]), (0,)),
        (changed(lambda r: (r["frames"][first].update(module=None, function="\x1b[2J;\n"),
                            r["sites"][0].update(stack=[first] * 5_000))), (0,)),
    ]
    for content, statuses in hostile:
        bad.write_text(content, encoding="latin-1")
        for form in ("text", "json", "folded", "csv", "speedscope", "pprof") if statuses == (0,) else ("json",):
            done = t.run("report", "--format", form, bad)
            expect(done.status in statuses, (content[:100], form, done.status, done.stderr[:500]))
            if done.status == 3:
                expect(done.stderr.startswith("mallard: error: ") and not done.stdout, done.stderr)
            if form in ("text", "folded", "csv"):
                expect("\x1b" not in done.stdout, "control characters reach the terminal")


@pytest.mark.parametrize("mode", ["sample", "exact", "off"])
@pytest.mark.parametrize("backend", ["system", "jemalloc", "mimalloc"])
def test_report_text_is_that_of_the_library(t: Test, backend: str, mode: str) -> None:
    """Byte for byte, where there are no files to name frames from: these modules are of another build."""
    done = t.run("run", "--mode", mode, "--backend", backend, "--at-exit", "--sample-bytes", "16K",
                 "--report", "same.%n", "--", compile_cxx(t))
    reports = sorted(t.dir.glob("same.*.json"))
    expect(done.status == 0 and reports, done)
    for path in reports:
        report = json.loads(path.read_text())
        for module in report["modules"]:
            module["build_id"] = "00" * 20
        (t.dir / "other.json").write_text(json.dumps(report))
        text, written = t.run("report", t.dir / "other.json").stdout, path.with_suffix(".txt").read_text()
        text = text.partition("\nFunctions by ")[0]  # what the command adds, at the end
        written = written.partition("\nIn short\n")[0]  # on a terminal the command shows the verdict last by itself
        expect(text == written, "".join(difflib.unified_diff(written.splitlines(True), text.splitlines(True))))


def test_report_depth_merges_sites(t: Test) -> None:
    """Two sites that differ in their third frame: figures add up, errors as those of independent figures."""
    facts = json.loads(report_of(t, compile_cxx(t)).read_text())
    site = facts["sites"][0]
    first, second, third, fourth = (len(facts["frames"]) + i for i in range(4))
    facts["frames"] += [{"pc": hex(i + 1), "module": None, "address": "0x0", "function": name, "offset": 0}
                        for i, name in enumerate(("leaf", "make", "one", "two"))]
    figures = ("live_bytes", "live_count", "allocated_bytes", "allocated_count", "resident_bytes", "hole_bytes",
               "resident_live_bytes", "born_in_last_half_bytes")
    for i, (value, error) in enumerate(((1000, 30), (500, 40))):
        copy = dict(site, id=i + 1, stack=[first, second, (third, fourth)[i]])
        for name in figures:
            copy |= {name: value, name + "_error": error, name + "_low": value - error, name + "_high": value + error}
        facts["sites"][i:i + 1] = [copy]
    del facts["sites"][2:]
    facts["verdict"]["sites"] = [2]
    (t.dir / "two.json").write_text(json.dumps(facts))
    found = json.loads(good(t, t.dir / "two.json", "--format", "json", "--depth", "2"))
    expect(not faults_of(found), faults_of(found))
    merged = found["sites"]
    expect(len(merged) == 1 and merged[0]["merged_sites"] == 2 and found["verdict"]["sites"] == [1], merged)
    for name in figures:
        expect([merged[0][name + end] for end in ("", "_low", "_high", "_error")] == [1500, 1450, 1550, 50], name)
    expect(merged[0]["samples"] == 2 * site["samples"], merged)
    totals = {f["name"]: (f["sites"], f["live"], f["self_live"]) for f in found["functions"]}
    expect(totals == {"leaf": (1, 1500, 1500), "make": (1, 1500, 0)}, totals)
    apart = json.loads(good(t, t.dir / "two.json", "--format", "json"))
    totals = {f["name"]: (f["sites"], f["live"], f["self_live"]) for f in apart["functions"]}
    expect(totals == {"leaf": (2, 1500, 1500), "make": (2, 1500, 0), "one": (1, 1000, 0), "two": (1, 500, 0)}, totals)
    text = good(t, t.dir / "two.json", "--depth", "2")
    expect("Functions by " in text and "Modules by " in text and text.count(" leaf") >= 2, text)


def test_report_depth_merges_what_sites_pin_together(t: Test) -> None:
    """Sites 1 and 3 become one: what both pinned it holds alone, and sets that are the same now are one."""
    facts = json.loads(report_of(t, compile_cxx(t)).read_text())
    site = facts["sites"][0]
    begin = len(facts["frames"])
    facts["frames"] += [{"pc": hex(i + 1), "module": None, "address": "0x0", "function": name, "offset": 0}
                        for i, name in enumerate(("make", "other", "one", "two"))]
    stacks = {1: [begin, begin + 2], 2: [begin + 1], 3: [begin, begin + 3]}
    alone = {"alone_bytes": 10, "alone_bytes_low": 10, "alone_bytes_high": 10, "alone_bytes_error": 0,
             "alone_hole_bytes": 4, "alone_hole_bytes_low": 4, "alone_hole_bytes_high": 4, "alone_hole_bytes_error": 0}
    facts["sites"] = [dict(site, id=number, stack=stack, **alone) for number, stack in stacks.items()]
    facts["verdict"]["sites"] = []
    for finding in facts["findings"]:
        finding["sites"] = []
    facts["pinned"] |= {"known": True, "alone_bytes": 30, "alone_hole_bytes": 12, "joint_bytes": 1000,
                        "joint_hole_bytes": 400, "sets": [
                            {"bytes": 600, "hole_bytes": 300, "together_bytes": 620, "sites": [1, 2]},
                            {"bytes": 300, "hole_bytes": 60, "together_bytes": 320, "sites": [2, 3]},
                            {"bytes": 100, "hole_bytes": 40, "together_bytes": 120, "sites": [1, 3]}]}
    if facts["heap_map"]:
        facts["heap_map"]["ranges"] = []
    (t.dir / "pinned.json").write_text(json.dumps(facts))
    found = json.loads(good(t, t.dir / "pinned.json", "--format", "json", "--depth", "1"))
    pinned = found["pinned"]
    expect(pinned["sets"] == [{"bytes": 900, "hole_bytes": 360, "together_bytes": 900 + 120 + 10, "sites": [1, 2]}],
           pinned["sets"])
    held = {s["id"]: (s["alone_bytes"], s["alone_hole_bytes"]) for s in found["sites"]}
    expect(held == {1: (120, 48), 2: (10, 4)}, held)
    expect((pinned["alone_bytes"], pinned["joint_bytes"]) == (130, 900), pinned)
    expect((pinned["alone_hole_bytes"], pinned["joint_hole_bytes"]) == (52, 360), pinned)
