# SPDX-License-Identifier: Apache-2.0
"""The versions of jemalloc that census-versions measures."""
from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .subjects import Subject, crate, debian_package, loadable, run, the_one
from .workloads import slab_sizes

SYS = "tikv-jemalloc-sys"
# What such a build is linked for: a processor with 57 bits of address has other tables.
BITS_48, BITS_57 = ("--with-lg-vaddr=48",), ("--with-lg-vaddr=57",)
# As redis builds the copy that it bundles: classes are 8 bytes apart, and there are more of them.
LIKE_REDIS = ("--with-lg-vaddr=48", "--with-lg-quantum=3")


def built(crate_version: str, *options: str) -> Callable[[Path], Path]:
    """The sources that a crate bundles, configured anew, without a prefix."""
    def make(folder: Path) -> Path:
        bundled = crate(SYS, crate_version, folder)
        sources = folder / "sources"
        shutil.rmtree(sources, ignore_errors=True)
        shutil.copytree(bundled / "jemalloc", sources)
        shutil.copy(bundled / "configure" / "configure", sources)
        version = crate_version.split("+")[1]
        told = version if version.count("-") >= 3 else version.split("-")[0] + "-0-g0"
        run(["sh", sources / "configure", "--disable-cxx", "--disable-doc", f"--with-version={told}", *options], sources)
        run(["make", "-s", "build_lib_shared"], sources, seconds=900)
        return sources / "lib" / "libjemalloc.so.2"
    return make


def from_debian(release: str) -> Callable[[Path], Path]:
    def get(folder: Path) -> Path:
        return loadable(the_one(debian_package("libjemalloc2", folder, release), "libjemalloc.so.2"))
    return get


def slabs(path: Path) -> dict[str, str]:
    return {"WORKLOAD_SLABS": slab_sizes(str(path)), "WORKLOAD_JEMALLOC": str(path)}


def of(version: str, source: str, get: Callable[[Path], Path], conf: str = "") -> Subject:
    # Its thread-local memory has to be static, and a process that loads it late has little room for that.
    return Subject("jemalloc", version, source, get, slabs,
                   {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=16384", "MALLOC_CONF": conf})


SUBJECTS = (
    of("5.2.1", "Debian 11, libjemalloc2", from_debian("bullseye")),
    of("5.2.1 57 bits", f"crate {SYS} 0.4.3", built("0.4.3+5.2.1-patched.2", *BITS_57)),
    of("5.3.0", "Debian 12, libjemalloc2", from_debian("bookworm")),
    of("5.3.0 Debian 13", "Debian 13, libjemalloc2", from_debian("trixie")),
    of("5.3.0 like redis", f"crate {SYS} 0.5.4", built("0.5.4+5.3.0-patched", *LIKE_REDIS)),
    of("5.3.0 percpu", "Debian 12, percpu_arena", from_debian("bookworm"), "percpu_arena:percpu"),
    of("5.3.0 not retaining", "Debian 12, retain:false", from_debian("bookworm"), "retain:false"),
    of("5.3.1", f"crate {SYS} 0.7.1",
       built("0.7.1+5.3.1-0-g81034ce1f1373e37dc865038e1bc8eeecf559ce8", *BITS_48)),
    of("5.3.1 57 bits", f"crate {SYS} 0.7.1",
       built("0.7.1+5.3.1-0-g81034ce1f1373e37dc865038e1bc8eeecf559ce8", *BITS_57)),
)
