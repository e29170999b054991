# SPDX-License-Identifier: Apache-2.0
"""--fail-on of report, diff, dump and check: exact messages and statuses, and figures on both sides of a bound."""
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .harness import Checked, Failure, Test
from .test_golden_outputs import DATA

AFTER, BEFORE = DATA / "after.json", DATA / "before.json"


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def messages(done: Checked) -> list[str]:
    """What is said, without the warnings of modules that are not there."""
    return [line for line in done.stderr.splitlines() if "cannot be opened" not in line]


def judged(t: Test, condition: str, status: int, change: Callable[[Any], None] = lambda _: None,
           command: tuple[str, ...] = ("report",)) -> list[str]:
    report = json.loads(AFTER.read_text())
    change(report)
    path = t.dir / "changed.json"
    path.write_text(json.dumps(report))
    files = (BEFORE, path) if command[0] == "diff" else (path,)
    done = t.run(*command, "--fail-on", condition, *files)
    expect(done.status == status, (condition, status, done.status, done.stderr))
    return messages(done)


def test_fail_on_used_wrongly(t: Test) -> None:
    sizes = "hint: a number of bytes, or with K, M, G: 500K, 10M, 2G; or 5%"
    causes = "hint: rss, counts, unexplained, lost, a cause of the ledger (live, holes, retained, ...), or site.live and the like"
    forms = "hint: any, leak, retention, ...; inconsistent; or holes>100M, unexplained>5%, site.live>10M"
    for condition, error, hint in (
            ("leaks", "'leaks': is neither a verdict nor of the form FIGURE>BOUND", forms),
            ("none", "'none': is neither a verdict nor of the form FIGURE>BOUND", forms),
            ("Leak", "'Leak': is neither a verdict nor of the form FIGURE>BOUND", forms),
            ("holes", "'holes': is neither a verdict nor of the form FIGURE>BOUND", forms),
            (" leak", "' leak': is neither a verdict nor of the form FIGURE>BOUND", forms),
            ("leak,", "'leak,': there is an empty condition", "hint: conditions have one comma between them"),
            (",leak", "',leak': there is an empty condition", "hint: conditions have one comma between them"),
            ("hole>5M", "'hole>5M': there is no figure 'hole'", causes),
            (">5M", "'>5M': there is no figure ''", causes),
            ("site.size>5M", "'site.size>5M': call sites have no figure 'size'",
             "hint: site. and one of resident, alone, holes, live, count, allocated, temporary, peak, at-peak"),
            ("holes>", "'holes>': '' is no size", sizes),
            ("holes>5MB", "'holes>5MB': '5MB' is no size", sizes),
            ("holes>-5", "'holes>-5': '-5' is no size", sizes),
            ("holes>=5M", "'holes>=5M': '=5M' is no size", sizes),
            ("holes>1e9", "'holes>1e9': '1e9' is no size", sizes),
            ("holes>99999999999999999999", "'holes>99999999999999999999': '99999999999999999999' is no size", sizes),
            ("holes>%", "'holes>%': '%' is no percentage", "hint: for example 5% or 0.5%"),
            ("holes>nan%", "'holes>nan%': 'nan%' is no percentage", "hint: for example 5% or 0.5%"),
            ("holes>1.2.3%", "'holes>1.2.3%': '1.2.3%' is no percentage", "hint: for example 5% or 0.5%"),
            ("rss>5%", "'rss>5%': 'rss' is no share of RSS", "hint: give a size: 500M, 2G"),
            ("site.count>5%", "'site.count>5%': 'site.count' is no share of RSS", "hint: give a number of blocks"),
            ("site.count>5M", "'site.count>5M': '5M' is no number", "hint: a number of blocks: 10000"),
            ("live>+5M", "'live>+5M': one report shows no growth", "hint: mallard diff compares two reports")):
        want = [f"mallard: error: --fail-on {error}", f"mallard: {hint}"]
        for command in (("report", AFTER), ("dump", "1"), ("diff", BEFORE, AFTER)):
            if command[0] == "diff" and "+" in condition:
                continue
            done = t.run(*command, "--fail-on", condition)
            expect(done.status == 2 and done.stderr.splitlines() == want and not done.stdout, (condition, want, done))
    done = t.run("check", "--fail-on", "all", "true")
    expect(done.status == 2 and done.stderr.startswith("mallard: error: --fail-on: all not in {"), done)


def test_fail_on_says_a_finding_once(t: Test) -> None:
    for conditions, findings in (
            ("any,any", [("the verdict is", "any")]), ("any,leak,any", [("the verdict is", "any,leak")]),
            ("rss>1K,rss>1024,any", [("rss is", "rss>1K,rss>1024"), ("the verdict is", "any")])):
        said = judged(t, conditions, 1, lambda r: r["verdict"].update(cause="leak"))
        expect(len(said) == len(findings) and all(
            line.startswith(f"mallard: finding: {start} ") and line.endswith(f" (--fail-on '{met}')")
            for line, (start, met) in zip(said, findings)), (conditions, said))


def test_fail_on_bounds(t: Test) -> None:
    """A bound is exceeded, not reached; estimates count with their low end."""
    def line(cause: str, value: int, low: int) -> Callable[[Any], None]:
        def change(report: Any) -> None:
            entry = next(x for x in report["ledger"] if x["cause"] == cause)
            entry.update(bytes=value, bytes_low=low, bytes_high=2 * value - low)
        return change
    one_mib = 1 << 20
    for condition, change, status in (
            ("holes>1M", line("holes", one_mib, one_mib), 0), ("holes>1M", line("holes", one_mib + 1, one_mib + 1), 1),
            ("live>1M", line("live", 2 * one_mib, one_mib), 0), ("live>1M", line("live", 2 * one_mib, one_mib + 1), 1),
            ("unexplained>1M", lambda r: r.update(unexplained_bytes=one_mib), 0),
            ("unexplained>1M", lambda r: r.update(unexplained_bytes=-one_mib - 1), 1),
            ("rss>1M", lambda r: r["rss"].update(total_bytes=one_mib), 0),
            ("rss>1M", lambda r: r["rss"].update(total_bytes=one_mib + 1), 1),
            ("files>50%", lambda r: (line("files", one_mib, one_mib)(r), r["rss"].update(total_bytes=2 * one_mib)), 0),
            ("files>50%", lambda r: (line("files", one_mib, one_mib)(r), r["rss"].update(total_bytes=2 * one_mib - 1)), 1),
            ("any", lambda r: r["verdict"].update(cause="none"), 0), ("any", lambda r: None, 1),
            ("leak", lambda r: None, 0), ("leak", lambda r: r["verdict"].update(cause="leak"), 1),
            ("stacks", lambda r: None, 0), ("leak,holes>1M", lambda r: None, 1)):
        said = judged(t, condition, status, change)
        expect(len(said) == status and all(s.startswith("mallard: finding: ") for s in said), (condition, said))
    # 30 samples of 64 KiB each without an interval: 1.875 MiB, deviation 350 KiB, low end 1.2 MiB.
    few = json.loads(AFTER.read_text())["sites"][0] | {"live_bytes": 30 << 16, "live_bytes_low": None,
                                                       "live_bytes_high": None}
    for condition, status in (("site.live>1M", 1), ("site.live>1300K", 0)):
        judged(t, condition, status, lambda r: r.update(sites=[few]))


def test_fail_on_what_cannot_be_judged(t: Test) -> None:
    def undivided(report: Any) -> None:
        next(x for x in report["ledger"] if x["cause"] == "undivided")["bytes"] = 1 << 20
        report["verdict"]["cause"] = "none"
    def off(report: Any) -> None:
        report["recording"]["mode"] = "off"
        report["verdict"]["cause"] = "none"
    whole = "the report does not divide this allocator's heap"
    none = "no call sites were recorded (mode off)"
    for condition, change, why in (
            ("holes>1M", undivided, whole), ("site.resident>1M", undivided, whole), ("any", undivided, whole),
            ("retention", undivided, whole), ("leak", off, none), ("site.live>1M", off, none),
            ("site.peak>1M", lambda r: None, "only exact mode counts peak bytes"),
            ("holes>1M", lambda r: r.update(ledger=None), "the report has no line 'holes'"),
            ("leak", lambda r: r.update(verdict=None), "the report has no verdict")):
        said = judged(t, condition, 3, change)
        expect(said == [f"mallard: error: --fail-on '{condition}' cannot be judged: {why}",
                        "mallard: hint: leave the condition out, or run the program so that it can be told"], said)
    said = judged(t, "holes>1M,rss>1M", 1, undivided)
    expect(len(said) == 2 and said[0].startswith("mallard: finding: rss is ") and
           said[1] == f"mallard: warning: --fail-on 'holes>1M' cannot be judged: {whole}", said)
    said = judged(t, "site.holes>+1M", 3, undivided, ("diff",))
    expect(said[0] == f"mallard: error: --fail-on 'site.holes>+1M' cannot be judged: AFTER: {whole}", said)


def test_fail_on_of_a_process(t: Test) -> None:
    program = t.compile("sleeper", source="#include <stdio.h>\n#include <unistd.h>\n"
                        "int main(void) { puts(\"up\"); fflush(stdout); for (;;) pause(); }\n")
    process = t.start(t.mallard, "run", "--", program)
    done = t.run("dump", "--fail-on", "rss>1K,live>1G", str(process.pid))
    expect(done.status == 1 and "mallard: finding: rss is " in done.stderr and
           "more than 1.00 KiB (--fail-on 'rss>1K')" in done.stderr and "Verdict" in done.stdout, done)
    done = t.run("dump", "--fail-on", "rss>1G,any", str(process.pid))
    expect(done.status == 0 and "finding" not in done.stderr, done)


def test_fail_on_of_a_check(t: Test) -> None:
    t.compile("dynamic")
    t.compile("static", "-static")
    for program, condition, status in (("dynamic", "any", 0), ("dynamic", "nothing-seen", 0), ("static", "any", 1),
                                       ("static", "nothing-seen", 1)):
        done = t.run("check", "--fail-on", condition, f"./{program}")
        found = f"mallard: finding: {done.verdict} (--fail-on {condition})\n" if status else ""
        expect(done.status == status and done.stderr == found, (program, condition, done))
    expect(t.run("check", "./static").status == 0, "without --fail-on the status is 0")


def test_fail_on_inconsistent(t: Test) -> None:
    def with_check(state: str) -> Callable[[Any], None]:
        def change(report: Any) -> None:
            report["checks"] = [{"name": "files", "state": state, "relation": "equal", "unit": "bytes", "ours": 3 << 20,
                                 "theirs": 9 << 20, "tolerance": 1 << 20, "ours_is": "lines of files",
                                 "theirs_is": "RssFile", "why_not": None}]
        return change

    said = judged(t, "inconsistent", 1, with_check("failed"))
    expect(said == ["mallard: finding: figures of the report contradict each other: lines of files and of "
                    "shared memory (3.00 MiB) and RssFile and RssShmem (9.00 MiB) (--fail-on 'inconsistent')"], said)
    expect(not judged(t, "inconsistent", 0, with_check("held")), "a check that holds is a finding")
    for change in (with_check("not made"), lambda report: report.pop("checks", None)):
        said = judged(t, "inconsistent", 3, change)
        expect("has no check of its own figures that could be made" in said[0], said)
