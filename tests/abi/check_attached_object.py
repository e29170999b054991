#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what libmallard-attach.so brings into a process that runs: check_attached_object.py LIBRARY."""
import re
import sys

from check_so import NEWEST_GLIBC, exported, newest_glibc, output, tell

# The one that it looks up itself.
EXPECTED = {"mallard_attached_under_lock"}
# What glibc keeps for all objects that come later is 1,664 bytes, of which others may have taken most.
MOST_TLS = 128
ALLOWED_NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2"}


def check(library: str) -> list[str]:
    problems = []
    if (found := exported(library)) != EXPECTED:
        problems.append(f"exports {sorted(found)}, expected {sorted(EXPECTED)}")
    dynamic, segments = output("readelf", "-dW", library), output("readelf", "-lW", library)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    if not needed <= ALLOWED_NEEDED or "libc.so.6" not in needed:
        problems.append(f"NEEDED is {sorted(needed)}: what a process has anyway is libc and the loader")
    if (newest := newest_glibc(library)) > NEWEST_GLIBC:
        problems.append(f"needs glibc {newest[0]}.{newest[1]}, and may need 2.17 at most (arch/x86_64/glibc.txt)")
    for flag in ("NODELETE", "NOW"):
        if flag not in dynamic:
            problems.append(f"the flag {flag} is missing")
    if "NOOPEN" in dynamic or "TEXTREL" in dynamic:
        problems.append("it cannot be opened, or has text relocations")
    if re.search(r"INIT_ARRAY|\(INIT\)|FINI", dynamic):
        problems.append("something runs when it is loaded or the process ends")
    tls = re.search(r"^\s*TLS\s+0x\w+ 0x\w+ 0x\w+ 0x\w+ 0x(\w+)", segments, re.MULTILINE)
    size = int(tls.group(1), 16) if tls else 0
    if not 0 < size <= MOST_TLS:
        problems.append(f"takes {size} bytes of static TLS, and may take {MOST_TLS}")
    if re.search(r"\b__tls_get_addr\b", output("nm", library)):
        problems.append("TLS is not initial-exec: __tls_get_addr is called")
    undefined = {line.split()[-1].split("@")[0] for line in output("nm", "-D", "-u", library).splitlines()}
    if odd := sorted(name for name in undefined if name.startswith(("_Z", "__cxa_", "__gxx", "_U", "unw_")) or
                     name in {"malloc", "free", "calloc", "realloc", "dlopen", "dlsym", "__register_atfork"}):
        problems.append(f"calls what it must not: {' '.join(odd)}")
    if re.search(r"GNU_STACK\s.*\bRWE\b", segments):
        problems.append("the stack is executable")
    return problems


def main() -> int:
    return tell(sys.argv[1], check(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
