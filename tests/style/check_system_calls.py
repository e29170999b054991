#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which system calls the library makes by their numbers: those that services may make under systemd's @system-service
(systemd.exec(5); the list is that of systemd 252), so that no report ends one. usage: check_system_calls.py ROOT"""
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from cxx_text import product_files  # noqa: E402

HOST_ROOMS = {"arch", "base", "elf", "symbols", "unwind", "record", "heaps", "backends", "inside", "interpose", "attach", "report"}
ALLOWED = set("""
    clock_gettime clock_nanosleep close close_range connect exit_group faccessat fsync fstat futex getdents64 getegid geteuid getpid getppid
    getsockopt ioctl madvise memfd_create mlock2 mlockall mmap mprotect mremap munlock munlockall munmap nanosleep newfstatat openat poll ppoll prctl
    pread64 prlimit64 process_vm_writev read readlink recvmsg rt_sigpending rt_sigprocmask rt_sigtimedwait sendmsg sendto socket
    timer_create timer_delete timer_settime unlink unshare wait4 waitid write writev
""".split())
# Names only: of what a thread was interrupted in; of what older headers lack, for the command.
LOOKED_AT = {"interpose/safe_point.cpp", "base/older.hpp", "arch/x86_64/include/arch/borrow.hpp"}
# Made only where no filter is in force.
GUARDED = {("base/os.cpp", "mincore")}


def main() -> int:
    root = Path(sys.argv[1])
    problems, met = [], set()
    for path in product_files(root, {".cpp", ".hpp", ".S"}):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] not in HOST_ROOMS or name in LOOKED_AT:
            continue
        for line, text in enumerate(path.read_text().splitlines(), 1):
            for call in re.findall(r"\bSYS_(\w+)", text):
                met.add(call)
                if call not in ALLOWED and (name, call) not in GUARDED:
                    problems.append(f"{name}:{line}: {call} is not among the calls that a service may make")
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(met)} system calls, {len(problems)} problems")
    return 1 if problems or not met else 0


if __name__ == "__main__":
    sys.exit(main())
