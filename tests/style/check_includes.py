#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enforces the include table of ARCHITECTURE.md and the host's list of standard headers."""
from __future__ import annotations

import re
import sys
from pathlib import Path

# Rooms from the bottom up; a room may include itself and the rooms in its set.
MAY_INCLUDE = {
    "arch": set(),
    "base": {"arch"},
    "elf": {"base", "arch"},
    "symbols": {"base", "arch", "elf"},
    "unwind": {"base", "arch", "elf"},
    "record": {"base", "arch", "unwind"},
    "record/exact": {"base", "arch", "unwind", "record"},
    "heaps": {"base", "arch", "elf"},
    "backends": {"base", "arch", "elf", "heaps"},
    "inside": {"base", "arch", "elf", "symbols", "heaps"},
    "report/model": {"base", "symbols", "heaps", "backends", "record", "record/exact"},
    "report/facts": {"base", "arch", "elf", "symbols", "inside", "record", "heaps", "report/model"},
    "report/divide": {"base", "elf", "heaps", "record/exact", "report/model", "report/facts"},
    "report/judge": {"base", "symbols", "report/model"},
    "report/write": {"base", "symbols", "report/model", "report/judge"},
    "report": {"base", "elf", "record", "backends", "report/model", "report/facts", "report/divide", "report/judge",
               "report/write"},
    "interpose": {"base", "arch", "elf", "unwind", "record", "record/exact", "backends", "inside"},
    "attach": {"base", "arch", "elf", "unwind", "record", "record/exact", "inside"},
    "outside": {"base", "arch", "elf", "record", "record/exact", "heaps", "backends", "inside", "report/model", "report/facts"},
    "cli": {"base", "arch", "elf", "symbols", "inside", "report/model", "report/judge", "report/write", "report",
            "outside"},
}
# The composition root: the only files of interpose that know the reporter.
KNOWS_REPORT = {"interpose/lifecycle.cpp", "interpose/signals.cpp"}
# Of the reporter's own room the command knows how a report is taken, and no more.
OF_REPORT = "report/snapshot.hpp"
# What `mallard top` copies from outside of the process: the one header of the books that it reads.
PUBLISHED = "record/published.hpp"
# What it tells the object that it has loaded into a process.
DOOR = "attach/door.hpp"
# Header-only parts of the C++ library: what needs code from libstdc++ would not link anyway.
HOST_STANDARD = {"algorithm", "atomic", "bit", "cstddef", "cstdint", "new", "span", "string_view",
                 "type_traits", "utility", "initializer_list", "concepts", "array", "iterator", "limits", "cstring",
                 "charconv", "optional"}
# What only arch/ may know: the name of an architecture, its registers and its instructions.
OF_ONE_ARCHITECTURE = re.compile(r"x86|amd64|%fs:|\bREG_R\w+|\b(?:rip|rsp|rbp|r[abcd]x|r[sd]i)\b|__asm__ volatile",
                                 re.IGNORECASE)
NAMES_MACHINES = "cli/check/elf_file.cpp"  # the machines of other people's programs
LOOP_OVER_LIST = re.compile(r"for \([^;{}\"]*:\s*\{")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)


def file_of(root: Path, header: str) -> Path | None:
    """The file that an include names; headers of an architecture are included as "arch/..."."""
    places = [root / header, *root.glob(f"arch/*/include/{header}")]
    return next((place for place in places if place.exists()), None)


def room_of(name: str) -> str:
    """The room of a file: the longest folder of the table that it lies in."""
    return max((room for room in MAY_INCLUDE if name.startswith(room + "/")), key=len)


def problems_of(root: Path, path: Path) -> list[str]:
    name = str(path.relative_to(root))
    room = room_of(name)
    found = []
    text = path.read_text()
    if not text.startswith(("// SPDX-License-Identifier: Apache-2.0", "/* SPDX-License-Identifier: Apache-2.0 */")):
        found.append(f"{name}: does not begin with the licence")
    if room != "arch" and name != NAMES_MACHINES:
        found += [f"{name}: '{word}' is of one architecture: it belongs into arch/"
                  for word in sorted(set(OF_ONE_ARCHITECTURE.findall(text)))]
    if LOOP_OVER_LIST.search(text) and "<initializer_list>" not in text:
        found.append(f"{name}: loops over {{...}} and does not include <initializer_list>, as gcc 14 demands")
    for kind, header in INCLUDE.findall(text):
        if kind == '"':
            if not file_of(root, header):
                found.append(f"{name}: includes {header}, which does not exist")
                continue
            target = room_of(header)
            allowed = target == room or target in MAY_INCLUDE[room] or (target == "report" and name in KNOWS_REPORT) or (
                room == "cli" and header in (PUBLISHED, DOOR))
            if room == "cli" and target == "report" and header != OF_REPORT:
                allowed = False
            if not allowed:
                found.append(f"{name}: includes {header}, which {room}/ may not know")
        elif room != "cli" and "." not in header and "/" not in header and header not in HOST_STANDARD:
            found.append(f"{name}: <{header}> is not for the host side")
    return found


def main() -> int:
    root = Path(sys.argv[1])
    files = [p for folder in sorted({room.split("/")[0] for room in MAY_INCLUDE})
             for p in sorted((root / folder).rglob("*"))
             if p.suffix in {".cpp", ".hpp", ".h", ".S"}]
    problems = [problem for path in files for problem in problems_of(root, path)]
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(files)} files, {len(problems)} problems")
    return 1 if problems or len(files) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
