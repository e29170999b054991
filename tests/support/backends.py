# SPDX-License-Identifier: Apache-2.0
"""The backends that every matrix test runs under, and whether this machine has them."""
from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Backend:
    """One row of the matrix. `missing` is the visible reason of a skip, '' if it is there."""
    name: str             # in test names and for --backend
    value: str            # of ALLOC_BACKEND
    served: str           # regular expression for the report's backend.name
    version: str          # regular expression for the report's backend.version
    missing: str = ""


@lru_cache
def shared_object(soname: str) -> str:
    """Where the loader's cache has `soname`, '' if nowhere."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([program, "-p"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found = re.search(rf"^\s*{re.escape(soname)} \(libc6,x86-64.*=> (\S+)$", listing, re.MULTILINE)
        return found.group(1) if found else ""
    return ""


def mimalloc3_path(build: Path) -> Path:
    return build / "backends" / "libmimalloc3.so"


def direct_objects(build: Path) -> dict[str, str]:
    """The backends by name: the shared object that serves malloc where it is preloaded without mallard, '' for none."""
    return {"system": "", "jemalloc": shared_object("libjemalloc.so.2"), "mimalloc2": shared_object("libmimalloc.so.2"),
            "mimalloc3": str(mimalloc3_path(build)), "tcmalloc": shared_object("libtcmalloc.so.4")}


def matrix(build: Path) -> list[Backend]:
    """system, jemalloc, mimalloc v2 and v3, and tcmalloc by path."""
    tcmalloc = shared_object("libtcmalloc_minimal.so.4")
    mimalloc2 = shared_object("libmimalloc.so.2")
    mimalloc3 = mimalloc3_path(build)
    return [
        Backend("system", "system", r"^system$", r"2\.\d+"),
        Backend("jemalloc", "jemalloc", r"^jemalloc$", r"5\."),
        Backend("mimalloc2", "mimalloc2", r"^mimalloc$", r"2\.",
                "" if mimalloc2 else "libmimalloc.so.2 is not installed (package libmimalloc2.0)"),
        Backend("mimalloc3", "mimalloc3", r"^mimalloc$", r"3\.",
                "" if mimalloc3.exists() else
                f"{mimalloc3} is absent (scripts/get-mimalloc3 fetches it)"),
        Backend("tcmalloc", tcmalloc or "libtcmalloc_minimal.so.4", r"^tcmalloc$", r"",
                "" if tcmalloc else
                "libtcmalloc_minimal.so.4 is not in the loader's cache (package libtcmalloc-minimal4)"),
    ]
