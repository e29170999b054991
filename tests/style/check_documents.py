#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the documents keep up: links, names of files, every JSON field, context of host functions."""
import re
import sys
from pathlib import Path


def broken_links(root: Path) -> list[str]:
    problems = []
    for document in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if not target.startswith(("http://", "https://")) and not (document.parent / target).exists():
                problems.append(f"{document.name}: links to {target}, which does not exist")
    return problems


def unknown_files(root: Path) -> list[str]:
    """Files that a document names in backquotes, as in `record/sampler.cpp`."""
    folders = "|".join(sorted(p.name for p in root.iterdir() if p.is_dir() and (p / "meson.build").exists()))
    problems = []
    for document in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        if document.name == "CHANGELOG.md":
            continue  # it tells of files that were
        for name in re.findall(rf"`((?:{folders}|scripts|docs)/[\w./-]+\.\w+)`", document.read_text()):
            if not (root / name).exists() and not Path(name).stem.isupper():
                problems.append(f"{document.name}: names {name}, which does not exist")
    return problems


def undocumented_fields(root: Path) -> list[str]:
    document = (root / "docs/report-format.md").read_text() + (root / "docs/control.md").read_text()
    source = "".join(path.read_text() for path in sorted((root / "report").rglob("*.cpp")))
    fields = set(re.findall(r'key\("(\w+)"\)', source))
    fields |= set(re.findall(r'text_or_null\("(\w+)"', source))
    fields |= set(re.findall(r'write_estimate\(json, "(\w+)"', source))
    assert len(fields) > 40, "report/ was not understood"
    return [f"neither docs/report-format.md nor docs/control.md explains {f}" for f in sorted(fields)
            if not re.search(rf"[`.]{f}`", document) and not f.endswith(("_low", "_high"))]


def main() -> int:
    root = Path(sys.argv[1])
    problems = broken_links(root) + unknown_files(root) + undocumented_fields(root)
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
