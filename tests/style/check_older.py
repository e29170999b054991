# SPDX-License-Identifier: Apache-2.0
"""What the compilers and libraries of the oldest Debian (gcc 10, fmt 7, nlohmann-json 3.9) lack is not used, unless a
file provides for it: a build there takes 20 minutes, and nobody makes one before every change."""
from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCES = "arch base elf symbols unwind record heaps backends inside report outside interpose cli attach tests".split()
# Pattern, what it needs, and the files that may have it, or what stands in a file that provides for it.
NEWER = [
    (r"\bfmt::(format_string|runtime|styled)\b", "fmt 8", "FMT_VERSION"),
    (r"#include <fmt/(std|xchar)\.h>", "fmt 9", set()),
    (r"\bstd::bit_cast\b", "gcc 11", {"base/older.hpp"}),
    (r"\busing enum\b", "gcc 11", set()),
    (r"#include <(format|source_location|syncstream|latch|barrier|semaphore|expected|print)>", "gcc 11", set()),
    (r"\bstd::(format|source_location|jthread|unreachable|to_underlying|byteswap)\b", "gcc 11", set()),
    (r"\bstd::make_unique_for_overwrite\b|\bstd::make_shared_for_overwrite\b", "gcc 11", set()),
    (r"\benviron\b(?!\")", "<unistd.h>, which other headers of newer glibc bring along", "#include <unistd.h>"),
]


def faults_of(name: str, text: str) -> list[str]:
    found = []
    code = re.sub(r"//[^\n]*", "", text)
    for pattern, needs, allowed in NEWER:
        provided = allowed in text if isinstance(allowed, str) else name in allowed
        if not provided and (match := re.search(pattern, code)):
            found.append(f"{name}: '{match[0]}' needs {needs}")
    return found


def main(root: Path) -> int:
    faults, files = [], 0
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.[ch]pp")):
            files += 1
            faults += faults_of(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    for folder in ("scripts", "tests"):  # Python 3.9 does not know every annotation
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            files += 1
            if re.search(r"^\s*def .* \| ", text, re.MULTILINE) and "from __future__ import annotations" not in text:
                faults.append(f"{path.relative_to(root)}: 'X | Y' without 'from __future__ import annotations'")
    print("\n".join(f"error: {fault}" for fault in faults) or f"{files} files, nothing newer")
    return 1 if faults or files < 100 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
