#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what libmallard.so shows to its host: check_so.py LIBRARY EXPORTS_MAP EXPECTED_EXPORTS."""
import re
import subprocess
import sys
from pathlib import Path

# Constructors that run in the host: ours, and nothing that a compiler made for a global.
EXPECTED_CONSTRUCTORS = 1
ALLOWED_NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2"}


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exported(library: str) -> set[str]:
    names = (line.split() for line in output("nm", "-D", "--defined-only", library).splitlines())
    return {fields[-1] for fields in names if fields}


def in_map(path: str) -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", Path(path).read_text(), flags=re.S)
    body = text.split("global:")[1].split("local:")[0]
    return set(re.findall(r"[A-Za-z_]\w*", body))


def check(library: str, export_map: str, expected_file: str) -> list[str]:
    problems = []
    expected = {line for line in Path(expected_file).read_text().split() if line}
    for name, found in (("library", exported(library)), ("map", in_map(export_map))):
        if extra := sorted(found - expected):
            problems.append(f"the {name} exports what the list does not have: {' '.join(extra)}")
        if missing := sorted(expected - found):
            problems.append(f"the {name} does not export: {' '.join(missing)}")

    dynamic = output("readelf", "-dW", library)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    if not needed <= ALLOWED_NEEDED or "libc.so.6" not in needed:
        problems.append(f"NEEDED is {sorted(needed)}, expected libc and the loader alone")
    if "TEXTREL" in dynamic:
        problems.append("there are text relocations")
    for flag in ("INITFIRST", "NOOPEN", "NODELETE"):
        if flag not in dynamic:
            problems.append(f"the flag {flag} is missing")

    symbols = output("nm", library)
    if made := re.findall(r"\b_GLOBAL__sub_I\w*|\b_ZTH\w+|\b_ZGV\w+", symbols):
        problems.append(f"static constructors, TLS initialisers or guards: {' '.join(sorted(set(made)))}")
    if re.search(r"\b__tls_get_addr\b", symbols):
        problems.append("TLS is not initial-exec: __tls_get_addr is called")
    undefined = {line.split()[-1].split("@")[0] for line in output("nm", "-D", "-u", library).splitlines()}
    if cxx := sorted(name for name in undefined if name.startswith(("_Z", "__cxa_", "__gxx")) and
                     name not in {"__cxa_finalize", "__cxa_atexit"}):
        problems.append(f"needs a C++ runtime: {' '.join(cxx)}")
    if unwind := sorted(name for name in undefined | exported(library) if name.startswith(("_U", "unw_"))):
        problems.append(f"an unwinder is visible: {' '.join(unwind)}")

    relocations = output("readelf", "-rW", library)
    if tls := sorted(set(re.findall(r"R_X86_64_(DTPMOD64|DTPOFF64|TLSDESC)", relocations))):
        problems.append(f"TLS relocations that are not initial-exec: {' '.join(tls)}")
    sizes = re.search(r"INIT_ARRAYSZ\)\s+(\d+)", dynamic)
    constructors = int(sizes.group(1)) // 8 if sizes else 0
    # crtbeginS.o's frame_dummy is one of them.
    if constructors != EXPECTED_CONSTRUCTORS + 1:
        problems.append(f"{constructors} constructors, expected {EXPECTED_CONSTRUCTORS + 1}")
    fork_data = re.search(r"mallard_fork_data\s+PROGBITS\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)",
                          output("readelf", "-SW", library))
    if not fork_data or int(fork_data.group(1), 16) % 4096 + int(fork_data.group(2), 16) > 4096:
        problems.append("what fork writes (MALLARD_FORK_DATA) does not lie on one page")
    segments = output("readelf", "-lW", library)
    if re.search(r"GNU_STACK\s.*\bRWE\b", segments):
        problems.append("the stack is executable")
    return problems


def main() -> int:
    problems = check(*sys.argv[1:4])
    for problem in problems:
        print(f"error: {problem}")
    print(f"{sys.argv[1]}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
