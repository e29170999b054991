#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each row of the tables (.def files) stands wherever docs/how-to-add.md promises it: in the documents, in
the manual pages, in the HTML page. What the compiler takes from the tables by itself needs no check."""
import re
import sys
from pathlib import Path

PRODUCT = ("base", "arch", "elf", "symbols", "unwind", "record", "heaps", "backends", "inside", "report", "interpose", "attach", "cli")


def rows_of(root: Path, table: str, macro: str) -> list[list[str]]:
    """The arguments of each row, without quotes."""
    text = (root / table).read_text()
    rows = re.findall(rf"^{macro}\((.*?)\)$", text, re.M | re.S)
    assert rows, f"{table} was not understood"
    return [[a.strip().strip('"') for a in re.findall(r'\s*("[^"]*"|[^,]+)(?:,|$)', row)] for row in rows]


def lacks(root: Path, document: str, names: list[str], pattern: str) -> list[str]:
    text = (root / document).read_text()
    return [f"{document} does not explain {n}" for n in names if not re.search(pattern.format(re.escape(n)), text)]


def problems_of_causes(root: Path) -> list[str]:
    rows = rows_of(root, "report/model/causes.def", "CAUSE")
    names = [row[1] for row in rows]
    css = (root / "cli/html/page.css").read_text()
    found = lacks(root, "docs/report-format.md", names, r"`{}`")
    found += lacks(root, "docs/man/mallard.1", names, r"\.Cm .*\b{}\b")
    found += [f"cli/html/page.css has no colour for {n}, light and dark" for n in names
              if css.count(f"--cause-{n.replace('_', '-')}: ") != 2]
    return found + second_copies(root, "report/model/causes.def", [row[2] for row in rows if " " in row[2]])


def problems_of_figures(root: Path) -> list[str]:
    rows = rows_of(root, "report/model/figures.def", "FIGURE")
    found = lacks(root, "docs/report.schema.json", [row[1] for row in rows], r'"{}"')
    found += lacks(root, "docs/report-format.md", [row[1] for row in rows], r"[`.]{}`")
    return found + lacks(root, "docs/man/mallard.1", [row[2] for row in rows if row[2]], r"\.Cm .*\b{}\b")


def problems_of_verdicts(root: Path) -> list[str]:
    names = [row[1] for row in rows_of(root, "report/model/verdicts.def", "VERDICT")]
    found = lacks(root, "docs/verdicts.md", names, r"\| `{}` \|")
    found += lacks(root, "docs/man/mallard.1", [n for n in names if n != "none"], r"\.It Cm .*\b{}\b")
    tests = ("tests/unit/verdict.cpp", "tests/unit/verdict_pages.cpp")
    untested = set.intersection(*({n for n in names if f'"{n}"' not in (root / test).read_text()} for test in tests))
    return found + [f"{tests[0]} does not explain {n}" for n in sorted(untested)]


def problems_of_backends(root: Path) -> list[str]:
    names = [row[0] for row in rows_of(root, "base/backend_names.def", "BACKEND")]
    return (lacks(root, "README.md", names, r"`{}`") + lacks(root, "docs/man/libmallard.7", names, r"\b{}\b"))


def problems_of_glibc(root: Path) -> list[str]:
    """Who says which versions of glibc's heap are known says what the layout has."""
    oldest, newest = re.search(r"kOldest = (\d+), kNewest = (\d+)", (root / "heaps/glibc_layout.hpp").read_text()).groups()
    said = {name: re.findall(r"2\.(\d+) to 2\.(\d+)(?=\)| are|, jemalloc| lays)", (root / name).read_text())
            for name in ("README.md", "docs/man/mallard.1", "heaps/glibc.cpp", "heaps/glibc_layout.hpp")}
    return [f"{name} has other versions of glibc than 2.{oldest} to 2.{newest}" for name, found in said.items()
            if found != [(oldest, newest)]]


def second_copies(root: Path, table: str, words: list[str]) -> list[str]:
    """Words of a table that are written out elsewhere, too."""
    found = []
    for folder in PRODUCT:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".cpp", ".hpp", ".js"):
                continue
            text = path.read_text()
            found += [f"{path.relative_to(root)}: has '{w}' once more; it is {table}'s" for w in words
                      if f'"{w}"' in text or f"'{w}'" in text]
    return found


def main() -> int:
    root = Path(sys.argv[1])
    problems = (problems_of_causes(root) + problems_of_figures(root) + problems_of_verdicts(root) +
                problems_of_backends(root) + problems_of_glibc(root))
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
