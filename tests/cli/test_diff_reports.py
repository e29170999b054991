# SPDX-License-Identifier: Apache-2.0
"""`mallard diff`: real growth, growth within the error, and files that are no reports."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .harness import Failure, Test

GROWING = """
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) static void steady(void) { for (int i = 0; i < 4000; i++) memset(malloc(1000), 1, 1000); }
__attribute__((noinline)) static void growing(void) { for (int i = 0; i < 9000; i++) memset(malloc(1000), 1, 1000); }
static void report(int n) {
  char name[32] = "r.0001.json";
  name[5] = (char)('0' + n);
  raise(SIGUSR2);
  for (int i = 0; i < 2000 && access(name, R_OK) != 0; i++) usleep(5000);
  usleep(200000);
}
int main(void) { steady(); report(1); growing(); report(2); return 0; }
"""


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def two_reports(t: Test, backend: str) -> tuple[Path, Path]:
    program = t.compile("growing", "-O1", source=GROWING)
    done = t.run("run", "--backend", backend, "--sample-bytes", "16K", "--report", "r.%n", "--", program)
    found = sorted(t.dir.glob("r.*.json"))
    expect(done.status == 0 and len(found) == 2, (done, found))
    return found[0], found[1]


def test_diff_finds_the_growing_site(t: Test) -> None:
    for backend in ("system", "jemalloc"):
        for old in t.dir.glob("r.*"):
            old.unlink()
        before, after = two_reports(t, backend)
        found: dict[str, Any] = json.loads(t.run("diff", "--json", before, after).stdout)
        top = found["sites"][0]
        expect(any(frame.startswith("growing") for frame in top["stack"]), top)
        for figure in ("resident_bytes", "live_bytes"):
            expect(7.5e6 < top[figure]["change"] < 11e6 and top[figure]["beyond_error"], top)
        expect(not any(frame.startswith("steady") for site in found["sites"] for frame in site["stack"]), found)
        live = next(line for line in found["ledger"] if line["cause"] == "live")
        expect(7.5e6 < live["bytes"]["change"] < 11e6, live)
        text = t.run("diff", before, after)
        expect("growing  [growing]" in text.stdout and "+8." in text.stdout, text.stdout)
        for condition, status in (("site.live>+1M", 1), ("live>+1M", 1), ("rss>+10%", 1), ("site.live>+100M", 0)):
            done = t.run("diff", "--fail-on", condition, before, after)
            expect(done.status == status and (f"(--fail-on '{condition}')" in done.stderr) == (status == 1), done)
        expect(t.run("diff", "--fail-on", "site.live>+1M", after, before).status == 0, "shrinking is no growth")


def with_site(report: dict[str, Any], live: float, error: float | None) -> dict[str, Any]:
    copy = json.loads(json.dumps(report))
    site = copy["sites"][0]
    copy["sites"] = [site]
    for figure in ("live_bytes", "resident_bytes"):
        site[figure] = live
        site[figure + "_low"] = None if error is None else live - error
        site[figure + "_high"] = None if error is None else live + error
    return copy


def test_diff_knows_the_error_of_its_samples(t: Test) -> None:
    report = json.loads(two_reports(t, "system")[0].read_text())
    a, b = t.dir / "a.json", t.dir / "b.json"
    # 1.96 deviations each: the difference has 1e6 * sqrt(2) / 1.96 = 721,500; 3.29 of them are 2.374 million.
    for growth, error, certain in ((2.3e6, 1e6, False), (2.45e6, 1e6, True), (0, 0, False), (1, 0, True),
                                   # 1,000 samples each of 16 KiB, no interval: deviation of the difference 733 KB
                                   (2.2e6, None, False), (2.8e6, None, True)):
        base = 16384e3
        a.write_text(json.dumps(with_site(report, base, error)))
        b.write_text(json.dumps(with_site(report, base + growth, error)))
        found = json.loads(t.run("diff", "--json", "--by", "live", a, b).stdout)
        expect((len(found["sites"]) == 1) == certain, (growth, error, found["sites"]))


def test_diff_prints_no_control_characters(t: Test) -> None:
    before, after = two_reports(t, "system")
    for path in (before, after):
        report = json.loads(path.read_text())
        evil = "\x1b[2Jcleared"
        report["process"]["name"] = report["backend"]["name"] = evil
        for frame in report["frames"]:
            frame["function"] = evil
        for module in report["modules"]:
            module["path"] = "/bin/" + evil
        report["ledger"][0]["cause"] = evil
        path.write_text(json.dumps(report))
    done = t.run("diff", before, after)
    expect(done.status == 0 and "cleared  [" in done.stdout, done)
    expect("\x1b" not in done.stdout, f"control characters reach the terminal: {done.stdout!r}")


def test_diff_used_wrongly(t: Test) -> None:
    good, _ = two_reports(t, "system")
    text = good.read_text()
    bad = t.dir / "bad.json"
    for content, message in ((text[: len(text) // 2], "it breaks off or changes at byte"),
                             ("", "is empty"),
                             ("[]", "is JSON, but no report of mallard"),
                             ("{}", "is JSON, but no report of mallard: key 'schema_version' not found"),
                             (re.sub(r'"schema_version": *2', '"schema_version":9', text, count=1),
                              "is a report of schema version 9; this command reads 1 to 2"),
                             (re.sub(r'"sites": *\[\n', '"sites": 5, "x": [\n', text, count=1), "is JSON, but no report")):
        bad.write_text(content)
        done = t.run("diff", good, bad)
        expect(done.status == 3 and f"mallard: error: '{bad}'" in done.stderr and message in done.stderr,
               (message, done))
    for arguments, status, message in (((good,), 2, "AFTER is required"),
                                       ((good, t.dir / "none.json"), 3, "cannot be opened: No such file"),
                                       ((good, t.dir), 3, "Is a directory"),
                                       (("--by", "size", good, good), 2, "--by: size not in {"),
                                       (("--fail-on", "much", good, good), 2, "--fail-on 'much': is neither a verdict nor")):
        done = t.run("diff", *arguments)
        expect(done.status == status and message in done.stderr, (arguments, done))
