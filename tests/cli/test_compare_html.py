# SPDX-License-Identifier: Apache-2.0
"""mallard compare --html, looked at with a headless Chromium, and what --keep leaves."""
from __future__ import annotations

import json

from support.marks import group

from .harness import Skip, Test
from .test_compare import PROGRAM
from .test_report_html import expect, opened, text_of

pytestmark = group("browser")
HOSTILE = "<img src=x onerror=\"window.hacked=1\">"


def test_a_comparison_as_a_page(t: Test) -> None:
    program = str(t.compile("holder", source=PROGRAM))
    page, kept = t.dir / "page.html", t.dir / "kept"
    done = t.run("compare", "--runs", "2", "--backends", "jemalloc", "--try", "small: KEPT=10", "--try", f"{HOSTILE}: KEPT=40",
                 "--try", "none: ALLOC_BACKEND=" + program, "--html", page, "--keep", kept, "--ready", "^ready", "--load",
                 "sleep 0.5", "--idle", "0.5", "--", program, "serve")
    if "was built without the HTML page" in done.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    expect(done.status == 0 and "small: " in done.stdout, done)
    result = json.loads((kept / "comparison.json").read_text())
    expect(result["advice"] in (kept / "comparison.md").read_text(), "the advice in Markdown")
    b = opened(page)
    expect(result["advice"] == text_of(b, ".verdict"), text_of(b, ".verdict"))
    expect(b.run("window.hacked") is None and HOSTILE in text_of(b, "#figures"), text_of(b, "#figures"))
    for candidate in result["candidates"]:
        expect(candidate["name"] in text_of(b, "#figures") and candidate["remark"] in text_of(b, "#figures"), candidate["name"])
    heads = b.run("[...document.querySelectorAll('h2')].map(h => h.innerText)")
    expect(heads == ["Which one", "Figures", "Resident memory over time", "Where the resident memory is"], heads)
    # One that never served has no curve and no ledger.
    expect(b.run("document.querySelectorAll('.curve').length") == 4, "curves")
    expect(b.run("document.querySelectorAll('#ledgers .bar').length") == 4, "ledgers")
    run = result["candidates"][0]["runs"][0]
    most = max(point[1] for point in run["curve"])
    expect(40 << 20 <= most <= run["peak_bytes"] and 0 < run["load_began_seconds"] < run["load_ended_seconds"] - 0.4, run)
    b = opened(page, width=390, dark=True)
    expect(b.run("document.documentElement.scrollWidth") <= 390, b.run("document.documentElement.scrollWidth"))


def test_a_page_that_cannot_be_written_is_told_before_anything_runs(t: Test) -> None:
    done = t.run("compare", "--html", "/nowhere/page.html", "--", "sh", "-c", "echo it was run >&2; sleep 60")
    if "was built without the HTML page" in done.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    expect(done.status == 3 and "'/nowhere/page.html' cannot be written" in done.stderr, done)
