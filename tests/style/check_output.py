#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever the command prints goes through cli/output.cpp, which cleans it: names of other users' processes, paths and
functions are bytes that somebody else chose, and a terminal would obey them. usage: check_output.py ROOT"""
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from cxx_text import product_files  # noqa: E402

PRINTS = re.compile(r"\bfmt::print|\bprintf\s*\(|\bv?dprintf|\bfprintf|\bputs\s*\(|\bfputs|\bputchar|\bfwrite\s*\([^;]*\bstd(?:out|err)\b"
                    r"|\bstd::c(?:out|err|log)\b|\bwrite\s*\(\s*(?:1|2|STD\w+_FILENO)\b|\bprint_bytes\s*\(")
# What has cleaned its text already, or prints none that others chose: completions are made of the command's own words.
EXCEPT = {"cli/output.cpp", "cli/output.hpp", "cli/terminal_text.cpp", "cli/completions.cpp", "cli/report/report.cpp",
          "cli/top/terminal_signals.cpp"}


def main() -> int:
    root = Path(sys.argv[1])
    problems, files = [], 0
    for path in product_files(root, {".cpp", ".hpp"}):
        name = path.relative_to(root).as_posix()
        if not name.startswith("cli/") or name in EXCEPT:
            continue
        files += 1
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if PRINTS.search(line) and "snprintf" not in line:
                problems.append(f"{name}:{number}: printed past cli/output.hpp")
    for problem in problems:
        print(f"error: {problem}")
    print(f"{files} files, {len(problems)} problems")
    return 1 if problems or files < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
