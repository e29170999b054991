# SPDX-License-Identifier: Apache-2.0
"""The versions of mimalloc that census-versions measures."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.framework import REPOSITORY

from .subjects import Subject, crate, debian_package, run, the_one, wheel

SYS = "libmimalloc-sys"
# Else mi_abandoned_visit_blocks leaves out pages from the kernel, and in 3.0 and 3.1 full ones.
LISTS_ALL = {"MIMALLOC_VISIT_ABANDONED": "1", "MIMALLOC_PAGE_FULL_RETAIN": "-1"}
SECURE, DEBUG = ("-DMI_SECURE=4",), ("-DMI_DEBUG=1", "-UNDEBUG")


def built(crate_version: str, part: str, *defines: str) -> Callable[[Path], Path]:
    """What the crate's own build makes of its sources, as a shared object that has malloc."""
    def make(folder: Path) -> Path:
        sources = crate(SYS, crate_version, folder) / "c_src" / "mimalloc" / part
        made = folder / "libmimalloc.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-ftls-model=initial-exec", "-fvisibility=hidden", "-DNDEBUG",
             "-D_GNU_SOURCE", "-DMI_MALLOC_OVERRIDE", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT", *defines,
             "-I", sources / "include", sources / "src" / "static.c", "-o", made, "-lpthread"], folder)
        return made
    return make


def from_debian(folder: Path) -> Path:
    return the_one(debian_package("libmimalloc2.0", folder), "libmimalloc.so*")


def from_newer_debian(folder: Path) -> Path:
    run([REPOSITORY / "scripts" / "get-mimalloc3", "--into", folder], folder)
    return folder / "libmimalloc3.so"


def from_wheel(version: str) -> Callable[[Path], Path]:
    return lambda folder: the_one(wheel("cmeel-mimalloc", version, folder), "libmimalloc.so*")


def visited(path: Path) -> dict[str, str]:
    return {"WORKLOAD_MIMALLOC": str(path)}


def of_crate(version: str, crate_version: str, part: str = "", kind: str = "",
             defines: tuple[str, ...] = ()) -> Subject:
    return Subject("mimalloc", f"{version} {kind}".strip(), f"crate {SYS} {crate_version}",
                   built(crate_version, part, *defines), visited, LISTS_ALL)


def of(version: str, source: str, get: Callable[[Path], Path]) -> Subject:
    return Subject("mimalloc", version, source, get, visited, LISTS_ALL)


SUBJECTS = (
    of_crate("2.0.7", "0.1.28"),
    of("2.0.9", "Debian 12, libmimalloc2.0", from_debian),
    of_crate("2.1.2", "0.1.35"),
    of_crate("2.1.4", "0.1.37"),
    of_crate("2.1.7", "0.1.39"),
    of_crate("2.2.3", "0.1.42"),
    of_crate("2.2.4", "0.1.44", "v2"),
    of_crate("2.2.4", "0.1.44", "v2", "secure", SECURE),
    of_crate("2.2.4", "0.1.44", "v2", "debug", DEBUG),
    of_crate("2.2.5", "0.1.43"),
    of_crate("2.3.0", "0.1.46", "v2"),
    of_crate("2.3.2", "0.1.49", "v2"),
    of_crate("3.1.5", "0.1.44", "v3"),
    of_crate("3.1.5", "0.1.44", "v3", "secure", SECURE),
    of_crate("3.1.5", "0.1.44", "v3", "debug", DEBUG),
    of("3.2.8", "wheel cmeel-mimalloc 3.2.8", from_wheel("3.2.8")),
    of_crate("3.3.0", "0.1.46", "v3"),
    of_crate("3.3.2", "0.1.49", "v3"),
    of("3.4.3", "wheel cmeel-mimalloc 3.4.3", from_wheel("3.4.3")),
    of("3.6.0", "Debian sid, libmimalloc3", from_newer_debian),
)
