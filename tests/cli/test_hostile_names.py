# SPDX-License-Identifier: Apache-2.0
"""Names that another user chose, in every output of every command: none steers the terminal that shows them, and none is
a formula in a spreadsheet. That nothing is printed past the function that cleans is held by tests/style/check_output.py."""
from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import unicodedata
from pathlib import Path

from .control import HOLDER, library
from .harness import Failure, Test

# Clears the screen, in 7 and 8 bits and in UTF-8; turns what follows around; a line of its own; DEL.
EVIL = "=a\x1b[2J\x9b2J\x85b\u202ec\nmallard: all is well\x7f"
NAME = os.fsencode(EVIL) + b"\x9b2J"


def steers(text: str) -> str:
    """The first character that a terminal obeys; '' for none. What is no UTF-8 is met as a surrogate."""
    return next((c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cs") or c == "\u202e"), "")


def expect_clean(t: Test, *words: str | Path | bytes) -> str:
    done = subprocess.run([t.mallard, *words], cwd=t.dir, capture_output=True, timeout=200, check=False)
    text = (done.stdout + done.stderr).decode(errors="surrogateescape")
    if found := steers(text):
        raise Failure(f"mallard {words}: {found!r} reaches the terminal: {text!r}"[:1500])
    if any(line == "mallard: all is well" for line in text.splitlines()):
        raise Failure(f"mallard {words}: a name makes a line of its own: {text!r}"[:1500])
    return done.stdout.decode(errors="replace")


def evil_holder(t: Test, **env: str) -> int:
    path = os.fsencode(t.dir) + b"/" + NAME
    if not os.path.exists(path):
        os.rename(t.compile("holder", source=HOLDER), path)
    return t.start(path, env={"LD_PRELOAD": library(t), **env}).pid


def test_commands_that_ask_a_process(t: Test) -> None:
    pid = str(evil_holder(t, ALLOC_CONTROL="1", ALLOC_REPORT="r.%e.%p.%n"))
    plain = str(evil_holder(t, ALLOC_SIGNAL="none"))
    for words in (["check", pid], ["check", "--json", pid], ["mode", pid], ["mode", "--json", pid], ["mode", pid, "exact"],
                  ["purge", pid], ["top", "-b", "-n", "1", pid], ["dump", pid], ["dump", "--json", pid], ["dump", "--full", pid],
                  ["dump", "--fail-on", "rss>1K", pid], ["mode", plain], ["purge", plain], ["dump", plain], ["check", plain],
                  ["dump", NAME], ["top", "-b", "-n", "1", NAME], ["check", NAME], ["run", "--", b"./" + NAME + b"-is-not-there"]):
        expect_clean(t, *words)


def test_reports_with_such_names(t: Test) -> None:
    pid = evil_holder(t, ALLOC_REPORT="r.%p.%n")
    json.loads(expect_clean(t, "dump", "--json", str(pid)))
    path = t.dir / f"r.{pid}.0001.json"
    report = json.loads(path.read_text())
    for frame in report["frames"]:
        frame["function"] = EVIL
    path.write_text(json.dumps(report, ensure_ascii=False))
    for form in ("text", "json", "folded", "speedscope", "csv"):
        shown = expect_clean(t, "report", "--format", form, path)
        if form in ("json", "speedscope"):
            json.loads(shown)
        if form == "csv":
            cells = [cell for row in csv.reader(io.StringIO(shown)) for cell in row]
            if formulas := [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and cell]:
                raise Failure(f"cells that are formulas: {formulas[:3]}")
    expect_clean(t, "diff", path, path)
    expect_clean(t, "diff", "--json", path, path)
    if found := steers((t.dir / f"r.{pid}.0001.txt").read_text(errors="surrogateescape")):
        raise Failure(f"the text that the library wrote has {found!r}")
