# SPDX-License-Identifier: Apache-2.0
"""Each name of the standard library has its header among those that a file includes, itself or by headers of this project.
Which other header of the standard library brings it along differs from one compiler to the next."""
from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from check_includes import INCLUDE, MAY_INCLUDE, file_of  # noqa: E402
from cxx_text import without_text  # noqa: E402

# The header, the names, and other headers that promise them, too.
WANTED = [
    ("cstdint", r"u?int(?:_fast|_least)?(?:8|16|32|64|max|ptr)_t", {"stdint.h", "inttypes.h"}),
    ("algorithm", r"(?:stable_|partial_)?sort|min_element|max_element|minmax|(?:any|all|none)_of|find_if(?:_not)?|count_if|"
                  r"(?:lower|upper)_bound|equal_range|binary_search|clamp|fill_n|copy_if|copy_n|transform|unique|nth_element|"
                  r"(?:max|min)(?=[(<])|rotate|reverse|mismatch|is_sorted|partition(?:_point)?|remove_if", set()),
    ("array", "array", set()), ("atomic", r"atomic(?:_\w+)?|memory_order_\w+", set()),
    ("bit", r"popcount|countr_zero|countl_zero|bit_width|bit_ceil|bit_floor|has_single_bit", set()),
    ("charconv", "from_chars|to_chars", set()), ("chrono", "chrono", {"thread"}),
    ("cmath", "sqrt|log2|log10|isfinite|isnan|lround|llround|floor|ceil|pow|exp", {"math.h"}),
    ("cstdio", "printf|fprintf|snprintf|fopen|fclose|FILE", {"stdio.h"}),
    ("cstdlib", "getenv|strto[a-z]+|exit|abort|malloc|free", {"stdlib.h"}),
    ("deque", "deque", set()), ("filesystem", "filesystem", set()), ("fstream", "[io]?fstream", set()),
    ("functional", "function|hash|greater|less", {"string", "string_view", "map", "set", "unordered_map", "memory"}),
    ("iostream", "cout|cerr|cin", set()), ("iterator", "back_inserter|inserter|istreambuf_iterator", {"string", "vector", "map", "set"}),
    ("limits", "numeric_limits", set()), ("map", "(?:multi)?map", set()),
    ("memory", "unique_ptr|shared_ptr|weak_ptr|make_unique|make_shared", set()), ("mutex", "mutex|lock_guard|unique_lock|scoped_lock", set()),
    ("numeric", "accumulate|iota|gcd|midpoint", set()), ("optional", "optional|nullopt", set()),
    ("random", r"mt19937(?:_64)?|uniform_\w+_distribution|exponential_distribution", set()),
    ("set", "(?:multi)?set", set()), ("span", "span", set()), ("sstream", "[io]?stringstream", set()),
    ("string", "string|to_string|stoi|stoul|stoull", set()), ("string_view", "string_view", {"string"}),
    ("system_error", "error_code|system_error|errc", {"filesystem", "charconv", "string"}),
    ("thread", "thread|this_thread", set()), ("tuple", "tuple|tie|make_tuple|apply", {"map", "functional", "memory"}),
    ("unordered_map", "unordered_map", set()), ("unordered_set", "unordered_set", set()),
    ("utility", "exchange", set()), ("variant", "variant|visit|monostate|holds_alternative|get_if", set()),
    ("vector", "vector", set()),
]
# C's names without std::, whose headers newer libraries bring along.
PLAIN = [
    ("stdint.h", r"u?int(?:8|16|32|64|ptr)_t", {"cstdint", "inttypes.h"}), 
    ("string.h", r"(?:mem(?:cpy|cmp|set|move|chr)|str(?:len|cmp|ncmp|chr|rchr|nlen))(?=\()", {"cstring"}),
    ("errno.h", "errno|E(?:INTR|AGAIN|NOENT|INVAL|PERM|ACCES|SRCH|NOMEM)", {"cerrno"}), ("unistd.h", r"(?:getpid|usleep|readlink|isatty|fork)(?=\()", set()),
    ("fcntl.h", r"O_(?:RDONLY|RDWR|CREAT|DIRECTORY|CLOEXEC)", set()), ("signal.h", "SIG(?:USR1|USR2|KILL|STOP|CONT|TERM|INT)", {"csignal"}),
    ("time.h", "timespec|CLOCK_MONOTONIC", {"ctime", "sys/stat.h", "thread", "pthread.h", "chrono"}), ("math.h", r"(?:log2|lround)(?=\()", {"cmath"}),
    ("fmt/ranges.h", "fmt::join", set()),  # up to fmt 10 it was in fmt/format.h
]
NAMES = [(header, re.compile(rf"\bstd::({names})\b"), {header, *others}) for header, names, others in WANTED]
NAMES += [(header, re.compile(rf"(?<![\w:.>])({names})\b"), {header, *others}) for header, names, others in PLAIN]


@cache
def included(root: Path, path: Path) -> frozenset[str]:
    """What a file includes of the standard library, itself or by headers of this project."""
    found: set[str] = set()
    for kind, header in INCLUDE.findall(path.read_text(encoding="utf-8")):
        if kind == "<":
            found.add(header)
            continue
        near = path.parent / header
        target = near if near.exists() else file_of(root, header) or root / "tests" / header
        if target.exists():
            found |= included(root, target)
    return frozenset(found)


def faults_of(root: Path, path: Path) -> list[str]:
    code = without_text(path.read_text(encoding="utf-8"))
    has = included(root, path)
    return [f"{path.relative_to(root)}: '{match[0]}' needs <{header}>, which neither it nor a header of ours includes"
            for header, names, enough in NAMES if not has & enough and (match := names.search(code))]


def main(root: Path) -> int:
    folders = sorted({room.split("/")[0] for room in MAY_INCLUDE} | {"tests"})
    files = [p for folder in folders for p in sorted((root / folder).rglob("*.[ch]pp"))]
    faults = [fault for path in files for fault in faults_of(root, path)]
    print("\n".join(f"error: {fault}" for fault in faults) or f"{len(files)} files, each with the headers that it needs")
    return 1 if faults or len(files) < 100 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
