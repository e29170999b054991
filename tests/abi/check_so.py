#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what libmallard.so shows to its host: check_so.py LIBRARY EXPORTS_MAP EXPECTED_EXPORTS."""
import re
import subprocess
import sys
from pathlib import Path

# Constructors that run in the host: ours, and nothing that a compiler made for a global.
EXPECTED_CONSTRUCTORS = 1
# Of the last two an ordinary build for glibc 2.34 or newer has none: what was in them is in libc.so.6.
ALLOWED_NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2", "libdl.so.2", "libpthread.so.0"}
NEWEST_GLIBC = (2, 17)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def newest_glibc(library: str) -> tuple[int, ...]:
    """The highest of the versions of glibc that the library asks for."""
    needs = output("readelf", "-VW", library).split("needs section")[-1]
    return max(tuple(int(part) for part in version.split(".")) for version in re.findall(r"Name: GLIBC_([\d.]+)", needs))


def exported(library: str) -> set[str]:
    names = (line.split() for line in output("nm", "-D", "--defined-only", library).splitlines())
    return {fields[-1] for fields in names if fields}


def in_map(path: str) -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", Path(path).read_text(), flags=re.S)
    body = text.split("global:")[1].split("local:")[0]
    return set(re.findall(r"[A-Za-z_]\w*", body))


def check_layout(sections: str, segments: str) -> list[str]:
    """What arch/x86_64/layout.ld promises: few mappings, few pages that a fork's child uses."""
    placed = {name: (int(address, 16), int(size, 16)) for name, address, size in
              re.findall(r"(\S+)\s+(?:PROGBITS|NOBITS)\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", sections)}
    loads = [(int(address, 16), int(size, 16), flags.replace(" ", "")) for address, size, flags in re.findall(
        r"LOAD\s+0x\w+ 0x(\w+) 0x\w+ 0x\w+ 0x(\w+) ([RWE ]{3})", segments)]
    problems = []
    if [flags for _, _, flags in loads] != ["RE", "RW"]:
        problems.append(f"the segments are {loads}, expected one of code and one of data")
        return problems
    text, fork_text_end = placed["mallard_text"], loads[0][0] + loads[0][1]
    if text[0] % 4096 or text[0] + text[1] != fork_text_end:
        problems.append("the exports and what forks run are not the last pages of the code")
    if text[1] > 4 * 4096:
        problems.append(f"what forks run takes {text[1]} bytes: meant for little code")
    relro = re.search(r"GNU_RELRO\s+0x\w+ 0x(\w+) 0x\w+ 0x\w+ 0x(\w+)", segments)
    table = placed["mallard_table_data"]
    if not relro or int(relro.group(1), 16) + int(relro.group(2), 16) != table[0] or table[0] % 4096:
        problems.append("the backend's table does not follow the loader's read-only data")
    fork_data = placed["mallard_fork_data"]
    if fork_data[0] % 4096 or fork_data[1] > 4096:
        problems.append("what fork writes (MALLARD_FORK_DATA) does not lie on one page")
    return problems


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
    newest = newest_glibc(library)
    if newest > NEWEST_GLIBC:
        problems.append(f"needs glibc {newest[0]}.{newest[1]}, and may need 2.17 at most (arch/x86_64/glibc.txt)")
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
    if constructors != EXPECTED_CONSTRUCTORS:
        problems.append(f"{constructors} constructors, expected {EXPECTED_CONSTRUCTORS}: no start files")
    segments = output("readelf", "-lW", library)
    problems += check_layout(output("readelf", "-SW", library), segments)
    if re.search(r"GNU_STACK\s.*\bRWE\b", segments):
        problems.append("the stack is executable")
    return problems


def tell(library: str, problems: list[str]) -> int:
    """\\return the exit status"""
    for problem in problems:
        print(f"error: {problem}")
    print(f"{library}: {len(problems)} problems")
    return 1 if problems else 0


def main() -> int:
    return tell(sys.argv[1], check(*sys.argv[1:4]))


if __name__ == "__main__":
    sys.exit(main())
