# SPDX-License-Identifier: Apache-2.0
"""A program that was large and has freed everything: its report at exit names who held the peak."""
from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from support.report_schema import expanded, faults_of

from .harness import Failure, Test

PROGRAM = """
#include <stdlib.h>
#include <string.h>
#define EACH 300
#define COUNT 200000
void *table[COUNT], *rows[COUNT];
__attribute__((noinline)) static void *load_table(void) { return memset(malloc(EACH), 1, EACH); }
__attribute__((noinline)) static void *load_rows(void) { return memset(malloc(EACH), 1, EACH); }
__attribute__((noinline)) static void *after(void) { return memset(malloc(EACH), 1, EACH); }
int main(void) {
  for (int i = 0; i < COUNT; i++) { table[i] = load_table(); if (i % 2) rows[i] = load_rows(); }
  for (int i = 0; i < COUNT; i++) { free(table[i]); free(rows[i]); }
  for (int i = 0; i < COUNT / 4; i++) table[i] = after();
  for (int i = 0; i < COUNT / 4; i++) free(table[i]);
  return 0;
}
"""
TRUTH = {"load_table": 60e6, "load_rows": 30e6, "after": 0}


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def at_exit(t: Test, mode: str) -> Path:
    program = t.compile("batch", "-O1", source=PROGRAM)
    done = t.run("run", "--report", "r.%n", "--", program,
                 env={"ALLOC_MODE": mode, "ALLOC_AT_EXIT": "1", "ALLOC_SAMPLE_BYTES": "64K"})
    found = sorted(t.dir.glob("r.*.json"))
    expect(done.status == 0 and len(found) == 1, (done, found))
    return found[0]


def held(report: dict[str, Any], function: str) -> float:
    return sum(s["at_peak_bytes"] for s in report["sites"] if any(f["function"] == function for f in s["stack"][:2]))


@pytest.mark.parametrize("mode, off", [("sample", 0.12), ("exact", 0.02)])
def test_peak_at_exit(t: Test, mode: str, off: float) -> None:
    """The sums at the peak are those of the program's own books, and the report says whose they are."""
    path = at_exit(t, mode)
    plain = json.loads(path.read_text())
    expect(not faults_of(plain), faults_of(plain))
    report = expanded(plain)
    peak = report["peak"]
    expect(peak["known"] and peak["judged"], peak)
    expect(abs(peak["live_bytes"] - 90e6) < off * 90e6, peak)
    for function, truth in TRUTH.items():
        expect(abs(held(report, function) - truth) <= off * 60e6, (function, held(report, function), truth))
    sum_of_sites = sum(s["at_peak_bytes"] for s in report["sites"]) + report["other_sites"]["at_peak_bytes"]
    expect(abs(sum_of_sites - peak["live_bytes"]) < 0.01 * peak["live_bytes"], (sum_of_sites, peak))
    expect("load_table" in peak["text"] and "before the end" in peak["text"], peak)
    expect(report["rss"]["peak_bytes"] >= 90e6, report["rss"])
    expect(all(f["next_step"] == "" for f in report["findings"] if f["cause"] != "leak"), report["findings"])
    text = path.with_suffix(".txt").read_text()
    expect("Call sites by live bytes at the peak" in text and "  peak  " in text, text)


def test_at_peak(t: Test) -> None:
    """--at peak in every format, and what a report without it is told."""
    path = at_exit(t, "sample")
    done = t.run("report", "--at", "peak", "--limit", "1", path)
    expect(done.status == 0 and done.stdout.count("Call sites by") == 1 and "load_table" in done.stdout, done)
    rows = list(csv.DictReader(io.StringIO(t.run("report", "--at", "peak", "--format", "csv", path).stdout)))
    expect(float(rows[0]["at_peak_bytes"]) > float(rows[1]["at_peak_bytes"]) > 20e6, rows[:2])
    first = json.loads(t.run("report", "--at", "peak", "--format", "json", path).stdout)["sites"][0]
    expect(first["at_peak_bytes"] == int(rows[0]["at_peak_bytes"]), first)
    folded = t.run("report", "--at", "peak", "--format", "folded", path).stdout
    expect("load_table" in folded and "after" not in folded, folded)
    document = json.loads(path.read_text())
    del document["peak"]
    old = t.dir / "old.json"
    old.write_text(json.dumps(document))
    done = t.run("report", "--at", "peak", old)
    expect(done.status == 2 and "does not tell who held the peak" in done.stderr, done)
