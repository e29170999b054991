#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps files of the product at 400 lines and functions at 60 lines at most. usage: check_sizes.py ROOT"""
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from cxx_text import functions_of, product_files  # noqa: E402

MOST_FILE_LINES, MOST_FUNCTION_LINES = 400, 60
# What is longer today, by the name of the file, so that it may move: to be cut; nothing is to be added or to grow.
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS = {
    ("cfi.cpp", "run"): 75,
}


def main() -> int:
    root = Path(sys.argv[1])
    problems, functions, met = [], 0, set()
    files = product_files(root, {".cpp", ".hpp", ".h", ".S", ".def", ".ld", ".js", ".css"})
    for path in files:
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > MOST_FILE_LINES:
            met.add(path.name)
            if lines > LONG_FILES.get(path.name, 0):
                problems.append(f"{path.relative_to(root)}: {lines} lines, at most {MOST_FILE_LINES}")
        for function in functions_of(text) if path.suffix in {".cpp", ".hpp", ".h"} else ():
            functions += 1
            if function.lines > MOST_FUNCTION_LINES:
                met.add((path.name, function.name))
                if function.lines > LONG_FUNCTIONS.get((path.name, function.name), 0):
                    problems.append(f"{path.relative_to(root)}:{function.first}: {function.name} has {function.lines} "
                                    f"lines, at most {MOST_FUNCTION_LINES}")
    for name in sorted(map(str, {*LONG_FILES, *LONG_FUNCTIONS} - met)):
        print(f"note: {name} is no longer too long, and can leave the list")
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(files)} files, {functions} functions, {len(problems)} problems")
    return 1 if problems or functions < 500 else 0


if __name__ == "__main__":
    sys.exit(main())
