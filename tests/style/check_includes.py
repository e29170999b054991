#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enforces the include table of ARCHITECTURE.md and the host's list of standard headers."""
import re
import sys
from pathlib import Path

MAY_INCLUDE = {
    "base": {"base"},
    "record": {"base", "record"},
    "backends": {"base", "backends"},
    "interpose": {"base", "record", "backends", "interpose"},
    "report": {"base", "record", "backends", "report"},
    "cli": {"base", "cli"},
}
# The composition root: the only files of interpose that know the reporter.
KNOWS_REPORT = {"interpose/lifecycle.cpp", "interpose/signals.cpp"}
# The command names functions as the library does.
KNOWS_DEMANGLER = {"cli/demangled.cpp": "report/demangle.hpp"}
# Header-only parts of the C++ library: what needs code from libstdc++ would not link anyway.
HOST_STANDARD = {"algorithm", "atomic", "bit", "cstddef", "cstdint", "new", "span", "string_view",
                 "type_traits", "utility", "initializer_list", "concepts", "array", "limits", "cstring"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)


def problems_of(root: Path, path: Path) -> list[str]:
    folder = path.relative_to(root).parts[0]
    name = str(path.relative_to(root))
    found = []
    text = path.read_text()
    if not text.startswith(("// SPDX-License-Identifier: Apache-2.0", "/* SPDX-License-Identifier: Apache-2.0 */")):
        found.append(f"{name}: does not begin with the licence")
    for kind, header in INCLUDE.findall(text):
        if kind == '"':
            target = header.split("/")[0]
            allowed = MAY_INCLUDE[folder] | ({"report"} if name in KNOWS_REPORT else set())
            if target not in allowed and KNOWS_DEMANGLER.get(name) != header:
                found.append(f"{name}: includes {header}, which {folder}/ may not know")
            elif not (root / header).exists():
                found.append(f"{name}: includes {header}, which does not exist")
        elif folder != "cli" and "." not in header and "/" not in header and header not in HOST_STANDARD:
            found.append(f"{name}: <{header}> is not for the host side")
    return found


def main() -> int:
    root = Path(sys.argv[1])
    files = [p for folder in MAY_INCLUDE for p in sorted((root / folder).rglob("*"))
             if p.suffix in {".cpp", ".hpp", ".h", ".S"}]
    problems = [problem for path in files for problem in problems_of(root, path)]
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(files)} files, {len(problems)} problems")
    return 1 if problems or len(files) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
