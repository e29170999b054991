#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds comments of the product that begin with a fragment, which nobody understands who has not read the one before.
usage: check_comments.py ROOT"""
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True

from cxx_text import comments_of, product_files  # noqa: E402

# A sentence that hangs on another one. "The same process gives ..." and "Which ...?" are whole.
HANGING = re.compile(r"(?:Of|Likewise|Ditto|Also|Whose|Whom|And|Or|Nor)\b(?!.*\?$)"
                     r"|The same(?=[,.:;]|$| (?:for|without|with|in|from|by|as|of|to|on|at|once)\b)|As above\b")
# Names that are written in small letters where they begin a sentence as well.
NAMES = set("""glibc libc jemalloc mimalloc tcmalloc snmalloc libunwind libgcc libiberty libstdc libmallard ncurses mallard
               gcc clang perf systemd zsh bash""".split())
LOWER_CASE = re.compile(r"([a-z]+)(?=[\s,.:])")


def fragments(text: str) -> Iterator[str]:
    text = re.sub(r"^SPDX-License-Identifier:.*\n?", "", text)
    text = " ".join(text.split())
    if not text or re.match(r"-{3}|NOLINT|clang-format|\\|@", text):
        return
    for number, sentence in enumerate(re.split(r"(?<=[.!?]) +(?=[A-Z`'\"(])", text)):
        word = LOWER_CASE.match(sentence) if number == 0 else None
        if HANGING.match(sentence) or (word and word.group(1) not in NAMES):
            yield sentence


def main() -> int:
    root = Path(sys.argv[1])
    comments, found = 0, []
    for path in product_files(root, {".cpp", ".hpp", ".h", ".S", ".def"}):
        for line, text in comments_of(path.read_text()):
            comments += 1
            found += [f"{path.relative_to(root)}:{line}: {sentence[:90]}" for sentence in fragments(text)]
    for each in found:
        print(f"fragment: {each}")
    print(f"{comments} comments, {len(found)} fragments")
    return 1 if found or comments < 500 else 0


if __name__ == "__main__":
    sys.exit(main())
