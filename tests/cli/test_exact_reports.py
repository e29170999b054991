# SPDX-License-Identifier: Apache-2.0
"""Reports of exact mode in the command: figures that only they have, comparisons, refusals."""
from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from support.report_schema import expanded

from .harness import Failure, Test

PROGRAM = """
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void *volatile last;
__attribute__((noinline)) static void keep(void) { for (int i = 0; i < 1000; i++) memset(last = malloc(100), 1, 100); }
__attribute__((noinline)) static void pass(void) { for (int i = 0; i < 5000; i++) { last = malloc(24); free(last); } }
__attribute__((noinline)) static void swell(void) {
  void *all[100];
  for (int i = 0; i < 100; i++) all[i] = last = malloc(10000);
  for (int i = 0; i < 100; i++) free(all[i]);
}
static void report(int n) {
  char name[32] = "r.0001.json";
  name[5] = (char)('0' + n);
  raise(SIGUSR2);
  for (int i = 0; i < 2000 && access(name, R_OK) != 0; i++) usleep(5000);
  usleep(200000);
}
int main(void) { keep(); pass(); swell(); report(1); keep(); report(2); return 0; }
"""
SITES = ("keep", "pass", "swell")


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def reports(t: Test, mode: str) -> tuple[Path, Path]:
    for old in t.dir.glob("r.*"):
        old.unlink()
    program = t.compile("books", "-O1", source=PROGRAM)
    done = t.run("run", "--report", "r.%n", "--", program, env={"ALLOC_MODE": mode})
    found = sorted(t.dir.glob("r.*.json"))
    expect(done.status == 0 and len(found) == 2, (done, found))
    return found[0], found[1]


def by_function(report: Path) -> dict[str, dict]:
    sites = expanded(json.loads(report.read_text()))["sites"]
    return {frame["function"]: site for site in sites for frame in site["stack"][:2] if frame["function"] in SITES}


def test_exact_report_counts(t: Test) -> None:
    """Every figure of three call sites, to the byte."""
    first, second = reports(t, "exact")
    sites = by_function(first)
    for name, wanted in (("keep", (100_000, 1000, 100_000, 100_000, 0)), ("pass", (0, 0, 120_000, 24, 5000)),
                         ("swell", (0, 0, 1_000_000, 1_000_000, 1))):
        found = tuple(sites[name][figure] for figure in ("live_bytes", "live_count", "allocated_bytes", "peak_bytes",
                                                         "temporary_count"))
        expect(found == wanted, f"{name}: {found}, expected {wanted}")
    expect(sites["pass"]["sizes"] == [{"from": 24, "to": 24, "allocated_count": 5000, "live_count": 0}],
           sites["pass"]["sizes"])
    expect(by_function(second)["keep"]["growth"]["since_first"] == {"change": 100_000, "low": 100_000,
                                                                    "high": 100_000}, by_function(second)["keep"])
    for by, name in (("temporary", "pass"), ("peak", "swell"), ("live", "keep"), ("count", "keep")):
        done = t.run("report", "--by", by, "--limit", "1", "--depth", "2", first)
        expect(done.status == 0 and f"{name}  " in done.stdout and "exact" in done.stdout, done.stdout + done.stderr)
    for condition, finding in (("site.peak>900K", "peak bytes of site"), ("site.temporary>4999", "temporary allocations of site")):
        done = t.run("report", "--format", "folded", "--fail-on", condition, first)
        expect(done.status == 1 and f"finding: {finding}" in done.stderr, done.stderr)
    rows = list(csv.DictReader(io.StringIO(t.run("report", "--format", "csv", "--by", "peak", first).stdout)))
    expect((rows[0]["peak_bytes"], rows[0]["temporary_count"]) == ("1000000", "1"), rows[0])
    text = first.with_suffix(".txt").read_text()
    for words in ("exact: every allocation is booked", "Call sites by temporary allocations", "Call sites by peak",
                  "sizes: 1,000 of 97 B to 112 B"):
        expect(words in text, f"the text lacks '{words}'")
    wide = [line for line in text.splitlines() if len(line) > 110]
    expect(not wide, f"lines of more than 110 columns: {wide[:3]}")


def test_exact_reports_compared(t: Test) -> None:
    first, second = reports(t, "exact")
    kept = [first.rename(t.dir / "exact.1.json"), second.rename(t.dir / "exact.2.json")]
    done = t.run("diff", "--json", "--by", "live", *kept)
    sites = json.loads(done.stdout)["sites"]
    # The second call of keep() is a call site of its own.
    grown = [s for s in sites if any(frame.startswith("keep ") for frame in s["stack"])]
    expect(len(grown) == 1 and grown[0]["live_bytes"] == {
        "before": 0, "after": 100_000, "change": 100_000, "standard_deviation": 0, "beyond_error": True}, sites)
    expect("Both reports are exact" in t.run("diff", *kept).stdout, "the text does not say that both are exact")
    sampled, _ = reports(t, "sample")
    mixed = t.run("diff", sampled, kept[1])
    expect(mixed.status == 0 and "B is exact, A is sample" in mixed.stdout, mixed.stdout + mixed.stderr)
    for command in (("report", "--by", "peak", sampled), ("diff", "--by", "temporary", sampled, kept[1])):
        refused = t.run(*command)
        expect(refused.status == 2 and "only exact mode" in refused.stderr, (command, refused))
