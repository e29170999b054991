# SPDX-License-Identifier: Apache-2.0
"""mallard report --format html and mallard dump --html, looked at with a headless Chromium."""
from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from support.marks import group

from . import browser
from .harness import Failure, Skip, Test
from .test_report_formats import compile_cxx, line_of, report_of

HOLDER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char *kept[100000];
__attribute__((noinline)) char *make_block(size_t n) { return memset(malloc(n), 1, n); }
int main(void) {
  for (int i = 0; i < 60000; ++i) kept[i] = make_block(200);
  for (int i = 0; i < 60000; ++i) if (i % 16) { free(kept[i]); kept[i] = 0; }
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
"""
HOSTILE = ["<img src=x onerror=\"window.hacked=1\">", "</script><script>window.hacked=1</script>", "<!--<script>",
           "]]>\u2028\u2029&lt;b&gt;", "javascript:window.hacked=1", "{{constructor}}${1}$&$`", "__proto__"]
_browser: browser.Browser | None = None
pytestmark = group("browser")


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise Failure(str(what))


def chromium() -> browser.Browser:
    """One for all tests: it takes seconds to start."""
    global _browser
    if _browser is None:
        program = browser.find()
        if not program:
            raise Skip("there is no chromium to look at pages with")
        _browser = browser.Browser(program)
        atexit.register(_browser.__exit__)
    return _browser


def page_of(t: Test, *arguments: str | Path, name: str = "page.html") -> Path:
    page = t.dir / name
    done = t.run("report", "--format", "html", "-o", page, *arguments)
    if "was built without the HTML page" in done.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    expect(done.status == 0 and not done.stdout, done)
    return page


def opened(page: Path, **options: Any) -> browser.Browser:
    """The page in the browser: nothing may have been complained about, and nothing loaded but itself."""
    b = chromium()
    b.open(page, **options)
    expect(b.requests() == [page.resolve().as_uri()], ("requests", b.requests()))
    quiet(b)
    return b


def quiet(b: browser.Browser) -> None:
    expect(not b.complaints(), ("console", b.complaints()))
    expect(b.run("document.querySelectorAll('[role=alert]').length") == 0, "a section failed")


def text_of(b: browser.Browser, selector: str) -> str:
    return b.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''").replace("\xa0", " ")


def changed(t: Test, report: Path, change: Any, name: str = "changed.json") -> Path:
    facts = json.loads(report.read_text())
    change(facts)
    path = t.dir / name
    path.write_text(json.dumps(facts))
    return path


INK = """(() => { const c = document.querySelector('%s'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  const seen = new Set(); for (let i = 0; i < d.length; i += 4 * 37) seen.add(d[i] << 16 | d[i+1] << 8 | d[i+2]); return seen.size; })()"""


def test_html_shows_the_report(t: Test) -> None:
    report = report_of(t, compile_cxx(t))
    facts = json.loads(report.read_text())
    page = page_of(t, report)
    content = page.read_text()
    expect(len(content) < 600_000, ("size", len(content)))
    expect(not re.search(r"(src|href)=\"(?!#|data:)", content.partition("<script")[0]), "nothing is linked")
    expect("d3-scale" in content and "ISC" in content and "Mike Bostock" in content, "the licences of what is bundled")
    b = opened(page)
    expect("inlining" in b.run("document.title"), b.run("document.title"))
    # One figure has one value: that of the ledger.
    tiles = b.run("[...document.querySelectorAll('.facts dd')].map(d => d.firstChild.textContent)")
    rows = {cause: b.run(f"document.querySelector('tr[data-cause={cause}] td.number')?.innerText") for cause in ("live", "own")}
    expect(rows["live"] == tiles[2] and tiles[0] == b.run("document.querySelector('tr.total td.number').innerText"), (tiles, rows))
    expect(rows["own"].replace("\xa0", " ") in text_of(b, "#about"), (rows, text_of(b, "#about")))
    heads = b.run("[...document.querySelectorAll('h2')].map(h => h.innerText)")
    expect(heads == ["Verdict", "Where the resident memory is", "Who pays for it", "Call sites", "Flame graph", "Heap map",
                     "About this report"], heads)
    expect(text_of(b, ".verdict p:last-child") != "" and facts["verdict"]["text"] in text_of(b, ".verdict"), text_of(b, ".verdict"))
    causes = b.run("[...document.querySelectorAll('.ledger [data-cause]')].map(r => r.dataset.cause)")
    wanted = [line["cause"] for line in facts["ledger"] if line["bytes"]]
    expect([c for c in causes if c != "unexplained"] == wanted, (causes, wanted))
    expect("exact" in text_of(b, ".ledger") and "100.0 %" in text_of(b, ".ledger"), text_of(b, ".ledger"))
    rows = b.run("document.querySelectorAll('tr.site').length")
    expect(rows == min(25, len(facts["sites"])), (rows, len(facts["sites"])))
    for canvas in ("canvas.flames", "canvas.map"):
        expect(b.run(INK % canvas) > 3, f"{canvas} is drawn")


def test_html_table_sorts_searches_and_opens(t: Test) -> None:
    b = opened(page_of(t, report_of(t, compile_cxx(t))))
    first = "document.querySelector('tr.site .name').innerText"
    expect("store::Cache::make" in b.run(first), b.run(first))
    b.run("document.querySelectorAll('tr.site button')[0].click()")
    frames = b.run("[...document.querySelectorAll('.frames li')].slice(0, 3).map(li => li.innerText)")
    expect(all(f"inlining.c:{line_of(word)}" in frame for word, frame in zip(("make", "insert", "fill"), frames)), frames)
    expect("inlined" in frames[0] and "inlined" not in frames[2], frames)
    b.run("document.querySelector('input[type=search]').focus()")
    b.call("Input.insertText", text="FILL_less")
    expect(b.run("document.querySelectorAll('tr.site').length") == 1 and "fill_less" in b.run(first), b.run(first))
    expect("1 of " in text_of(b, "#sites [role=status]"), text_of(b, "#sites [role=status]"))
    b.call("Input.insertText", text="_of_nowhere")
    expect(text_of(b, "tr.nothing").startswith("Nothing matches “FILL_less_of_nowhere”"), text_of(b, "#sites tbody"))
    b.run("document.querySelector('input[type=search]').value = ''; document.querySelector('input[type=search]').dispatchEvent(new Event('input'))")
    for name in ("live_bytes", "allocated_bytes"):
        column = {"live_bytes": 2, "allocated_bytes": 4}[name]
        b.run(f"document.querySelectorAll('#sites .sort')[{column}].click()")
        order = b.run("[...document.querySelectorAll('#sites thead th')].map(th => th.getAttribute('aria-sort'))")
        expect(order[column + 1] == "descending" and order.count("descending") == 1, order)
    b.run("document.querySelectorAll('#sites .sort')[4].click()")
    expect(b.run("document.querySelectorAll('#sites thead th')[5].getAttribute('aria-sort')") == "ascending", "turned round")
    quiet(b)


def test_html_flames_zoom_search_and_walk(t: Test) -> None:
    b = opened(page_of(t, report_of(t, compile_cxx(t))))
    said = "#flames [role=status]"
    everything = text_of(b, said)
    expect(everything.startswith("all call sites: ") and "100.0 %" in everything, everything)
    b.run("document.querySelector('canvas.flames').focus()")
    walked = []
    for _ in range(20):
        b.press("ArrowDown")
        walked.append(text_of(b, said))
    expect(any(w.startswith("store::fill(store::Cache&, int): ") for w in walked), walked)
    b.press("ArrowUp")
    b.press("Enter")
    expect(b.run("document.querySelector('#flames .tools > button').hidden") is False, "there is a way back")
    b.press("Escape")
    expect(text_of(b, said) == everything, text_of(b, said))
    for measure in ("live", "allocated"):
        b.run(f"[...document.querySelectorAll('#flames .choice button')].find(x => x.innerText === '{measure}').click()")
        expect(f" {measure}, 100.0 %" in text_of(b, said), text_of(b, said))
    b.run("document.querySelector('#flames input').focus()")
    b.call("Input.insertText", text="fill_less")
    expect(text_of(b, said).startswith("“fill_less” matches "), text_of(b, said))
    box = b.run("(() => { const c = document.querySelector('canvas.flames'); c.scrollIntoView(); const r = c.getBoundingClientRect(); return [r.left, r.top]; })()")
    b.frame()  # scrolling hides the tip
    b.move(box[0] + 5, box[1] + 30)
    expect(b.run("document.getElementById('tip').hidden") is False and "of all" in text_of(b, "#tip"), text_of(b, "#tip"))
    quiet(b)


def test_html_is_readable_on_a_phone_in_the_dark_and_on_paper(t: Test) -> None:
    page = page_of(t, report_of(t, compile_cxx(t)))
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened(page, width=390).run(paper)
    b = opened(page, width=390, dark=True)
    dark = b.run(paper)
    expect(light != dark, (light, dark))
    expect(b.run("document.documentElement.scrollWidth") <= 390, b.run("document.documentElement.scrollWidth"))
    # Names are broken between their words: each piece stands whole on one line.
    broken = b.run("""[...document.querySelectorAll('tr.site .name')].flatMap(cell => {
      const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), out = [];
      while (walker.nextNode()) for (const word of walker.currentNode.data.matchAll(/[\\w:~]+/g)) {
        const range = document.createRange();
        range.setStart(walker.currentNode, word.index);
        range.setEnd(walker.currentNode, word.index + word[0].length);
        if (range.getClientRects().length > 1) out.push(word[0]);
      }
      return out;
    })""")
    expect(broken == [], f"broken in the middle: {broken}")
    count = "document.querySelectorAll('.site-details').length"
    expect(b.run(count) == 0, "something is open")
    b.run("document.querySelector('tr.site td.number').click()")
    expect(b.run(count) == 1, "a click on the figures of a row does not open it")
    b.run("document.querySelector('tr.site td.number').click()")
    b.run("document.querySelectorAll('.expand').forEach(x => x.click())")
    expect(b.run("document.documentElement.scrollWidth") <= 390, "with everything open")
    themes = []
    for _ in range(3):
        b.run("document.getElementById('theme').click()")
        themes.append((b.run("document.documentElement.dataset.theme"), text_of(b, "#theme")))
    expect(themes == [("light", "Theme: light"), ("dark", "Theme: dark"), ("dark", "Theme: system")], themes)
    expect(len(b.call("Page.printToPDF")["data"]) > 10_000, "it prints")
    quiet(b)


def test_html_says_what_a_line_means_as_the_text_does(t: Test) -> None:
    """Where rounding is known, where it is not, and where pages are told apart instead of blocks."""
    report = report_of(t, compile_cxx(t))
    for known, by_pages in ((True, False), (False, False), (False, True)):
        one = changed(t, report, lambda f: f["ledger_about"].update(rounding_known=known, by_pages=by_pages))
        text = t.run("report", one).stdout
        b = opened(page_of(t, one))
        for cause in ("live", "holes", "retained"):
            row = b.run(f"[...(document.querySelector('tr[data-cause={cause}]')?.children ?? [])].map(c => c.innerText)")
            said = [line for line in text.splitlines() if row and line.startswith(f"  {row[0]} ") and row[1].replace("\xa0", " ") in line]
            expect(not row or any(line.rstrip().endswith(row[-1]) for line in said), (known, by_pages, row, said, text))


def ledger_of_page(b: Browser) -> list[str]:
    """Its rows in the words of the text, but without errors: a cause with size, share, meaning; a part with size, name."""
    b.run("document.querySelectorAll('.ledger .expand').forEach(x => x.click())")
    rows = b.run("[...document.querySelectorAll('.ledger tr')].map(r => [r.className, ...[...r.children].map(c => c.innerText)])")
    return [" ".join(f"{size} {name}" if kind == "detail" else " ".join([name, size, rest[0], *rest[2:]]) for kind, name, size, *rest in [row]).split()
            for row in rows]


def test_html_names_lines_and_parts_as_the_text_does(t: Test) -> None:
    """Of a process and of its core, where lines exceed RSS, and parts of every kind."""
    def detail(name: str, mappings: int) -> dict[str, Any]:
        return {"name": name, "frame": None, "allocator": "", "bytes": 65536, "mappings": mappings, "only_ours_bytes": 0,
                "with_others_bytes": 0, "dirty_bytes": None}

    parts = {"stacks": [detail("main", 1), detail("worker", 1), detail("pool", 1200), detail("", 2)],
             "anonymous": [detail("", 3), detail("/lib/libthing.so", 1)], "files": [detail("/lib/libthing.so", 2), detail("", 1)]}

    def change(facts: dict[str, Any], **more: Any) -> None:
        lines = {line["cause"]: line for line in facts["ledger"]}
        for cause, details in parts.items():
            lines[cause].update(bytes=65536 * len(details), bytes_low=65536 * len(details), bytes_high=65536 * len(details), details=details)
        facts.update(more)

    report = report_of(t, compile_cxx(t))
    core = {"path": "/tmp/core.1", "missing_bytes": 4096, "left_out_bytes": 8192}
    much = json.loads(report.read_text())["ledger_about"]["rss_bytes"] // 8
    for more in ({}, {"core": core}, {"unexplained_bytes": -much}, {"unexplained_bytes": much}, {"reason": "inspection"}):
        one = changed(t, report, lambda f: change(f, **more))
        text = t.run("report", one).stdout
        said = [" ".join(re.sub(r" % +(exact|±\S+)", " %", line).split()) for line in text.splitlines()]
        b = opened(page_of(t, one))
        rows = [row for row in ledger_of_page(b) if "more" not in row]
        expect(len(rows) > 15 and ("of core" if more.get("core") else "of RSS") in " ".join(rows[0]), rows)
        missing = [row for row in map(" ".join, rows) if not any(row in line for line in said)]
        expect(not missing, (more, missing, text))
        if more.get("core"):
            expect("in the core" in text_of(b, ".ledger") and "CUT SHORT: 4.00 KiB" in text_of(b, "#ledger").replace("\xa0", " "), text_of(b, "#ledger"))
            expect(text_of(b, ".facts").lower().startswith("in the core"), text_of(b, ".facts"))


def test_html_says_who_pays_as_the_text_does(t: Test) -> None:
    """Of a process alone in its cgroup, of one with others, and of one whose sharing could not be read."""
    alone = {"version": 2, "path": "/x", "processes": 1, "charged_bytes": 90 << 20, "limit_bytes": 256 << 20,
             "anonymous_bytes": 40 << 20, "page_cache_bytes": 20 << 20, "shared_memory_bytes": 0,
             "page_table_bytes": 1 << 20, "kernel_stack_bytes": 65536, "other_kernel_bytes": 3 << 20}
    parts = [name for name in alone if name.endswith("_bytes") and name not in ("charged_bytes", "limit_bytes")]
    several = dict(alone, version=1, processes=3, limit_bytes=None, **{name: None for name in parts})
    report = report_of(t, compile_cxx(t))
    for cgroup, untold in ((alone, None), (several, "may not read it")):
        one = changed(t, report, lambda f: f["memory"].update(cgroup=cgroup, sharing_why_not=untold, proportional_why_not=untold))
        text = t.run("report", one).stdout
        b = opened(page_of(t, one))
        rows = b.run("[...document.querySelectorAll('.charge tr')].map(r => [...r.children].map(c => c.innerText))")
        words = [" ".join(" ".join(row).split()) for row in rows]
        said = [" ".join(line.replace("not known: ", "not known ").split()) for line in text.splitlines()]
        expect(len(words) == (12 if cgroup is alone else 6) and all(w in said for w in words), (words, text))
    b = opened(page_of(t, changed(t, report, lambda f: f.update(memory={"known": False}))))
    expect(b.run("document.querySelector('#charge')") is None, "nothing is known of it")


def test_html_shows_hostile_names_as_text(t: Test) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["process"].update(name=HOSTILE[0], command_line=" ".join(HOSTILE), executable=HOSTILE[1])
        facts["verdict"].update(text=HOSTILE[1], next_step=HOSTILE[0])
        facts["backend"].update(version=HOSTILE[2])
        for line in facts["ledger"]:
            for i, detail in enumerate(line["details"]):
                detail["name"] = HOSTILE[i % len(HOSTILE)]
        for i, frame in enumerate(facts["frames"]):
            frame["function"] = HOSTILE[i % len(HOSTILE)]
        for i, module in enumerate(facts["modules"]):
            module["path"] = HOSTILE[i % len(HOSTILE)]

    page = page_of(t, changed(t, report_of(t, compile_cxx(t)), change))
    expect(page.read_text().count("</script>") == 2, "the report cannot end its element")
    b = opened(page)
    b.run("document.querySelectorAll('.expand').forEach(x => x.click())")
    expect(b.run("window.hacked === undefined && document.querySelectorAll('main img, main script').length === 0"), "run")
    everything = b.run("document.body.innerText")
    expect(text_of(b, "h1") == HOSTILE[0] and HOSTILE[1] in everything and HOSTILE[0] in everything, everything[:500])
    quiet(b)


def test_html_of_odd_reports(t: Test) -> None:
    program = compile_cxx(t)
    done = t.run("run", "--mode", "off", "--at-exit", "--report", "off.%n", "--", program)
    expect(done.status == 0, done)
    b = opened(page_of(t, t.dir / "off.0001.json"))
    expect("ALLOC_MODE=off" in text_of(b, "#sites"), text_of(b, "#sites"))
    report = report_of(t, program)
    for change, selector, said in (
            (lambda f: f.update(sites=[]), "#sites", "No allocation has been sampled yet"),
            (lambda f: (f.update(ledger=[], unexplained_bytes=None), f["ledger_about"].update(known=False, why_not="it is so")),
             "#ledger", "There is no ledger: it is so."),
            (lambda f: f.update(heap_map=None, verdict=None), "#about", "inlining"),
            (lambda f: [s.update(stack=[]) for s in f["sites"]], "#sites", "no stack"),
            (lambda f: [s.update(resident_bytes=1e300, live_bytes=-5) for s in f["sites"]], "#sites", "TiB")):
        b = opened(page_of(t, changed(t, report, change)))
        expect(said in text_of(b, selector), (said, text_of(b, selector)))
    # A file that lies breaks a section, in words, and not the page.
    b = chromium()
    b.open(page_of(t, changed(t, report, lambda f: f.update(heap_map={"ranges": [{"begin": "no number"}]}))))
    expect("could not be shown" in text_of(b, "[role=alert]") and "inlining" in text_of(b, "#about"), text_of(b, "main"))


def test_html_of_ten_thousand_sites(t: Test) -> None:
    def change(facts: dict[str, Any]) -> None:
        pattern = facts["sites"][0]
        facts["frames"] += [{"pc": hex(i), "module": None, "address": hex(i), "function": f"function_{i}", "offset": 0}
                            for i in range(3000)]
        first = len(facts["frames"]) - 3000
        facts["sites"] = [dict(pattern, id=i + 1, live_bytes=1000 * i,
                               stack=[first + (i * 31 + k * k) % 3000 for k in range(24)]) for i in range(10_000)]

    report = changed(t, report_of(t, compile_cxx(t)), change)
    page = page_of(t, report)
    expect(page.stat().st_size < 25_000_000, page.stat().st_size)
    before = time.monotonic()
    b = opened(page)
    took = time.monotonic() - before
    print(f"        10,000 sites of 24 frames: a page of {page.stat().st_size / 1e6:.1f} MB, {took:.1f} s to open")
    expect(took < 25, took)
    expect(b.run("document.querySelectorAll('tr.site').length") == 25, "only the first rows are made")
    expect("10,000 call sites" in text_of(b, "#sites"), text_of(b, "#sites")[:300])
    b.run("document.querySelector('#sites .more').click()")
    expect(b.run("document.querySelectorAll('tr.site').length") == 225, "and more when asked")
    quiet(b)


def start_holder(t: Test, *arguments: str) -> subprocess.Popen[bytes]:
    program = t.compile("holder", source=HOLDER)
    return t.start(t.mallard, "run", "--report", "h.%p.%n", "--sample-bytes", "16K", *arguments, "--", program)


def test_dump_writes_a_page(t: Test) -> None:
    process = start_holder(t)
    done = t.run("dump", str(process.pid), "--html", t.dir / "now.html")
    if "was built without the HTML page" in done.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    expect(done.status == 0 and not done.stdout and "h." in done.stderr, done)
    b = opened(t.dir / "now.html")
    expect("make_block" in text_of(b, "#sites"), text_of(b, "#sites"))
    cells = json.loads(next(t.dir.glob("h.*.0001.json")).read_text())
    ledger = {line["cause"]: line["bytes"] for line in cells["ledger"]}
    for field, wanted in (("live_bytes", ledger["live"] + ledger["rounding"]), ("hole_bytes", ledger["holes"])):
        found = sum(v or 0 for r in cells["heap_map"]["ranges"] for v in r[field])
        expect(abs(found - wanted) <= 0.02 * wanted + 65536, (field, found, wanted))
    done = t.run("dump", str(process.pid), "--html", t.dir / "no" / "now.html")
    expect(done.status == 3 and "cannot be written: No such file" in done.stderr, done)


def test_html_of_exact_mode(t: Test) -> None:
    process = start_holder(t, "--backend", "system", "--mode", "exact")
    done = t.run("dump", str(process.pid), "--html", t.dir / "exact.html")
    if "was built without the HTML page" in done.stderr:
        raise Skip("this mallard was built without the HTML page: there was no npm")
    expect(done.status == 0, done)
    b = opened(t.dir / "exact.html")
    b.run("[...document.querySelectorAll('tr.site button')].find(x => x.innerText.includes('make_block')).click()")
    shown = text_of(b, "#sites")
    for words in ("Every block was booked.", "peak bytes", "size of request", "200 B", "temporary", "exact"):
        expect(words in shown, (words, shown[:2000]))
    facts = json.loads(next(t.dir.glob("h.*.0001.json")).read_text())
    ledger = {line["cause"]: line["bytes"] for line in facts["ledger"]}
    cells = [c for r in facts["heap_map"]["ranges"] for c in zip(r["live_bytes"], r["hole_bytes"], r["site"])]
    live, holes = (sum(c[i] or 0 for c in cells) for i in (0, 1))
    expect(abs(live - ledger["live"] - ledger["rounding"]) < 65536 and abs(holes - ledger["holes"]) < 65536,
           (live, holes, ledger))
    make_block = max(facts["sites"], key=lambda s: s["live_bytes"])["id"]
    expect(sum(c[2] == make_block for c in cells) > 0.9 * len(cells), (make_block, [c[2] for c in cells][:100]))


def test_html_of_several_reports_shows_them_over_time(t: Test) -> None:
    process = start_holder(t)
    for number in range(1, 4):
        os.kill(process.pid, signal.SIGUSR2)
        for _ in range(200):
            if list(t.dir.glob(f"h.*.000{number}.txt")):
                break
            time.sleep(0.05)
    time.sleep(0.1)
    reports = sorted(t.dir.glob("h.*.json"))
    expect(len(reports) == 3, reports)
    alone = opened(page_of(t, reports[2]))
    expect("3 reports of this process" in text_of(alone, "#time"), text_of(alone, "#time"))  # what it remembers
    several = page_of(t, *reversed(reports))
    b = opened(several)
    expect("Report 3" in text_of(b, ".hero"), text_of(b, ".hero"))
    expect("3 reports of this process" in text_of(b, "#time") and b.run("document.querySelectorAll('#time .layer').length") > 3, text_of(b, "#time"))
    expect(page_of(t, t.dir, name="directory.html").read_text() == several.read_text(), "a directory is all its reports")
    (t.dir / "cut.json").write_text("{")
    done = t.run("report", "--format", "html", "-o", t.dir / "d.html", t.dir)
    expect(done.status == 0 and "cut.json' is no JSON report" in done.stderr and "it is left out" in done.stderr, done)
    other = report_of(t, compile_cxx(t), name="other")
    (t.dir / "empty").mkdir()
    for arguments, status, message in (
            (("html", reports[0], other), 2, "these reports are not of one process"),
            (("html", t.dir / "empty"), 3, "there is no report (.json) in"),
            (("html", t.dir / "cut.json"), 3, "is no JSON report"),
            (("text", *reports), 2, "--format text takes one report, and here are 3"),
            (("json", t.dir), 3, "cannot be read: Is a directory")):
        done = t.run("report", "--format", *arguments)
        expect(done.status == status and message in done.stderr and not done.stdout, (arguments, done))
