# SPDX-License-Identifier: Apache-2.0
"""The versions of gperftools' tcmalloc that census-versions measures."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .subjects import Subject, debian_package, loadable, the_one


def from_debian(release: str, package: str, pattern: str) -> Callable[[Path], Path]:
    return lambda folder: loadable(the_one(debian_package(package, folder, release), pattern))


def spans(path: Path) -> dict[str, str]:
    return {"WORKLOAD_TCMALLOC": str(path)}


def of(version: str, debian: int, release: str, package: str = "libtcmalloc-minimal4",
       pattern: str = "libtcmalloc_minimal.so.4.*") -> Subject:
    return Subject("tcmalloc", version, f"Debian {debian}, {package}" if debian else f"Debian sid, {package}",
                   from_debian(release, package, pattern), spans)


SUBJECTS = (
    of("2.8.1", 11, "bullseye"),
    of("2.10", 12, "bookworm"),
    of("2.16", 13, "trixie", "libtcmalloc-minimal4t64"),
    of("2.18.1", 0, "sid", "libtcmalloc-minimal4t64"),
)
