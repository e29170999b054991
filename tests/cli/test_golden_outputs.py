# SPDX-License-Identifier: Apache-2.0
"""What the command prints of fixed reports, byte by byte: tests/cli/golden/NAME is what CASES[NAME] must print.

The reports in tests/cli/data are of a real run (mimalloc, one site that pins holes, one that grows), with paths,
ids and times replaced: none of their files exists, so that the output does not depend on the machine. After a
change that is meant, `python3 -m pytest tests/cli -k golden_outputs --update-golden` writes the outputs anew and shows
what changed.
"""
from __future__ import annotations

import difflib
import os
import re
import subprocess
from pathlib import Path

import pytest

from .harness import Failure, Test, on_terminal

HERE = Path(__file__).resolve().parent
DATA, GOLDEN = HERE / "data", HERE / "golden"

CASES: dict[str, list[str]] = {
    "help": ["--help"],
    "report_text": ["report", "after.json"],
    "report_by_holes": ["report", "--by", "holes", "--limit", "2", "--depth", "2", "after.json"],
    "report_by_count": ["report", "--by", "count", "--focus", "store::", "after.json"],
    "report_folded": ["report", "--format", "folded", "--by", "live", "after.json"],
    "report_csv": ["report", "--format", "csv", "after.json"],
    "report_speedscope": ["report", "--format", "speedscope", "--limit", "2", "after.json"],
    "report_json": ["report", "--format", "json", "--limit", "1", "--depth", "2", "after.json"],
    "diff_text": ["diff", "before.json", "after.json"],
    "diff_by_live": ["diff", "--by", "live", "--limit", "1", "before.json", "after.json"],
    "diff_backwards": ["diff", "after.json", "before.json"],
    "diff_json": ["diff", "--json", "before.json", "after.json"],
    "fail_on_verdict": ["report", "--format", "folded", "--fail-on", "leak,external_fragmentation", "after.json"],
    "fail_on_figures": ["report", "--limit", "1", "--fail-on", "holes>50M,rss>60M,unexplained>5%,files>1%,site.count>20000",
                        "after.json"],
    "fail_on_growth": ["diff", "--json", "--fail-on", "live>+10M,rss>+10%,site.live>+20M,any", "before.json",
                       "after.json"],
    "fail_on_nothing": ["diff", "--json", "--fail-on", "holes>+10M,leak,live>2G,site.holes>+1M", "before.json",
                        "after.json"],
}

# The same on terminals of so many columns, by name.
TERMINALS: dict[str, tuple[int, list[str]]] = {
    "terminal_80_report": (80, ["report", "--limit", "3", "after.json"]),
    "terminal_200_report": (200, ["report", "--limit", "3", "after.json"]),
    "terminal_80_diff": (80, ["diff", "--limit", "3", "before.json", "after.json"]),
}


def subcommands(mallard: Path) -> list[str]:
    text = subprocess.run([mallard, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z]+)  ", re.split("Subcommands:", text, flags=re.I)[1], re.M)


def all_cases(mallard: Path) -> dict[str, list[str]]:
    terminals = {name: arguments for name, (_, arguments) in TERMINALS.items()}
    return CASES | terminals | {f"help_{name}": [name, "--help"] for name in subcommands(mallard)}


def output_of(mallard: Path, name: str, arguments: list[str]) -> str:
    if name in TERMINALS:
        shown = on_terminal([mallard, *arguments], DATA, columns=TERMINALS[name][0])
        return f"$ mallard {' '.join(arguments)}\n" + shown.replace("\x1b", "^[")
    env = {k: v for k, v in os.environ.items() if k not in ("DEBUGINFOD_URLS", "COLUMNS")}
    done = subprocess.run([mallard, *arguments], cwd=DATA, capture_output=True, text=True, timeout=60, env=env,
                          check=False)
    command = " ".join(f"'{a}'" if re.search(r"[^\w./=-]", a) else a for a in arguments)
    return f"$ mallard {command}\n{done.stdout}--- standard error\n{done.stderr}--- status {done.returncode}\n"


def words_of_help(text: str) -> list[str]:
    """The same for every version of CLI11, which differ in blanks, in headings and in whether they say 'Usage:'."""
    text = re.sub(r"^([A-Za-z]+):$", lambda heading: heading[0].lower(), text.replace("Usage: ", ""), flags=re.M)
    return re.sub(r", -", ",-", text).split()


def is_the_same(name: str, old: str, new: str) -> bool:
    return old == new or (name.startswith("help") and words_of_help(old) == words_of_help(new))


def difference(name: str, old: str, new: str) -> str:
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"golden/{name}", "now", n=1))


def update(mallard: Path) -> None:
    """Writes every file anew and prints what changed."""
    print()
    GOLDEN.mkdir(exist_ok=True)
    cases = all_cases(mallard)
    for path in GOLDEN.iterdir():
        if path.name not in cases:
            path.unlink()
            print(f"removed golden/{path.name}")
    for name, arguments in cases.items():
        path = GOLDEN / name
        old, new = path.read_text() if path.exists() else "", output_of(mallard, name, arguments)
        if old != new:
            path.write_text(new)
            print(difference(name, old, new) if old else f"added golden/{name}")


def test_golden_outputs(t: Test, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    if pytestconfig.option.update_golden:
        with capsys.disabled():
            update(t.mallard)
    cases = all_cases(t.mallard)
    wrong = [f"{path.name} is of no case" for path in GOLDEN.iterdir() if path.name not in cases]
    for name, arguments in cases.items():
        path = GOLDEN / name
        if not path.exists():
            wrong.append(f"golden/{name} is missing")
        elif not is_the_same(name, path.read_text(), now := output_of(t.mallard, name, arguments)):
            wrong.append(difference(name, path.read_text(), now))
    if wrong:
        raise Failure("\n".join(wrong) + "\nif that is meant: python3 -m pytest tests/cli -k golden_outputs "
                      "--update-golden, and look at the difference")


def test_help_fits_80_columns(t: Test) -> None:
    for name in ["", *subcommands(t.mallard)]:
        text = t.run(*filter(None, [name]), "--help").stdout
        long = [line for line in text.splitlines() if len(line) > 80]
        if long or "Examples:\n  mallard " not in text or "Exit status:" not in text:
            raise Failure(f"mallard {name} --help: lines over 80 columns {long}; or no examples, or no exit status:\n{text}")


def test_reports_of_schema_1_read_as_those_of_schema_2(t: Test) -> None:
    """The same report in both: each frame in full in one, once in a table in the other."""
    for form in ("text", "csv", "folded", "speedscope"):
        old, new = (output_of(t.mallard, "", ["report", "--format", form, name]).partition("\n")[2]
                    for name in ("after.json", "after_schema_2.json"))
        if old != new:
            raise Failure(difference(form, old, new))
