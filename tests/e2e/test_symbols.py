# SPDX-License-Identifier: Apache-2.0
"""What the library shows to the host, and that programs are really bound to it."""
from __future__ import annotations

import re
import subprocess

from support.compiler import build_case
from support.framework import Test
from support.framework import REPOSITORY
from support.marks import every_backend
from support.marks import every_backend
from support.report_schema import field_names

FUNCTIONS = ("malloc free calloc realloc reallocarray posix_memalign aligned_alloc memalign valloc pvalloc "
             "malloc_usable_size malloc_trim mallinfo mallinfo2 mallopt malloc_info malloc_stats").split()
BY_DLSYM = "cfree free_sized free_aligned_sized".split()
NEW_AND_DELETE = [
    "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm", "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t", "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t"]


def tool_output(t: Test, *argv: str) -> str:
    return subprocess.run([t.program(argv[0]), *argv[1:]], capture_output=True, text=True, check=True).stdout


@every_backend
def test_every_function_is_bound_to_us(t: Test) -> None:
    """LD_DEBUG=bindings, for the program and for libstdc++; dlsym and dladdr for what no linker finds."""
    program = build_case(t, "bound.cpp")
    env = t.preload_env(LD_DEBUG="bindings", LD_BIND_NOW="1", LD_DEBUG_OUTPUT=str(t.dir / "bindings"))
    done = t.run([program], env)
    text = "".join(path.read_text(errors="replace") for path in t.dir.glob("bindings.*"))
    owner = {symbol: file for file, symbol in
             re.findall(rf"binding file {re.escape(str(program))} \[0\] to (\S+) \[0\]: normal symbol `(\w+)'",
                        text)}
    t.check(owner, "LD_DEBUG shows no bindings of the program")
    wrong = [f"{name} -> {owner.get(name, 'nowhere')}" for name in FUNCTIONS + NEW_AND_DELETE
             if not owner.get(name, "").endswith("libmallard.so")]
    t.check(not wrong, f"not bound to libmallard.so: {', '.join(wrong)}")
    from_libstdcxx = re.findall(r"binding file \S*libstdc\+\+\S* \[0\] to (\S+) \[0\]: normal symbol "
                                r"`(?:malloc|free|realloc|calloc|_Znwm|_ZdlPv)'", text)
    t.check(from_libstdcxx and all(file.endswith("libmallard.so") for file in from_libstdcxx),
            f"libstdc++ is bound to {set(from_libstdcxx)}")
    for name in BY_DLSYM:
        t.check(re.search(rf"^{name} \S*libmallard\.so$", done.stdout, re.MULTILINE),
                f"dlsym({name}): {done.stdout[-300:]}")


def test_exports_are_the_family_only(t: Test) -> None:
    listing = tool_output(t, "nm", "-D", "--defined-only", str(t.library))
    names = {line.split()[-1].partition("@")[0] for line in listing.splitlines()}
    missing = {*FUNCTIONS, *BY_DLSYM, *NEW_AND_DELETE} - names
    t.check(not missing, f"not exported: {sorted(missing)}")
    foreign = sorted(name for name in names
                     if re.match(r"_ZNS?t|_ZNKS|_Unwind|_?_?unw_|_U|je_|mi_|mallctl|mallocx|sdallocx|rallocx|"
                                 r"tc_|MallocExtension|__cxa|__gxx|_dl|backtrace|rust_|mallard", name))
    t.check(not foreign, f"visible to the host: {foreign[:10]}")
    # The signal functions are there to chain the host's handler, dlopen to keep one heap,
    # dlclose to notice unloaded code, mmap and its
    # kin to know who mapped what, fork to tell libc that the reporter's thread has gone, mlockall
    # to leave our tables out.
    allowed = {*FUNCTIONS, *BY_DLSYM, *NEW_AND_DELETE, "sigaction", "__sigaction", "signal", "bsd_signal",
               "ssignal", "sysv_signal", "__sysv_signal", "sigset", "sigignore", "dlopen", "dlclose", "fork", "mlockall",
               "mmap", "mmap64", "munmap", "mremap", "madvise",
               "sbrk", "brk"}
    other = sorted(name for name in names - allowed if not name.startswith("__libc_"))
    t.check(not other, f"exported beside the family: {other}")
    t.check("@" not in listing, "an export carries a version: programs would bind to libc's")


def test_needs_libc_only(t: Test) -> None:
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", tool_output(t, "readelf", "-d", str(t.library))))
    t.check(needed <= {"libc.so.6", "ld-linux-x86-64.so.2"}, f"NEEDED: {sorted(needed)}")


def test_format_document_names_every_field(t: Test) -> None:
    document = REPOSITORY / "docs" / "report-format.md"
    if not document.exists():
        t.skip("docs/report-format.md is not there yet")
    text = document.read_text()
    missing = sorted(name for name in field_names()
                     if not re.search(rf"\b{re.escape(name)}\b", text)
                     and not re.search(r"_(low|high|error)$", name))
    t.check(not missing, f"not in docs/report-format.md: {missing}")
