# SPDX-License-Identifier: Apache-2.0
"""Who is measured: each backend loaded directly, under mallard, and jemalloc with its own profiler."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CLEARED = ("LD_PRELOAD", "MALLOC_CONF", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "PYTHONMALLOC", "LD_LIBRARY_PATH")
JEMALLOC_PROFILER = "prof:true,prof_active:true,lg_prof_sample:19"  # 2^19 = mallard's default of 512 KiB


@dataclass(frozen=True)
class Subject:
    """One way of serving malloc. `kind` is 'direct' (what the others are compared with), 'sample', 'off'
    or 'profiler'."""
    backend: str
    kind: str
    variables: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)

    @property
    def name(self) -> str:
        return {"direct": self.backend, "profiler": f"{self.backend} own profiler"}.get(
            self.kind, f"mallard {self.backend} {self.kind}")

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items()
                if k not in CLEARED and not k.startswith(("ALLOC_", "MIMALLOC_"))}
        return kept | {"LC_ALL": "C", "PYTHONHASHSEED": "0"} | dict(self.variables)


@dataclass(frozen=True)
class Group:
    """The subjects that are measured against one another: `direct` and what is compared with it."""
    direct: Subject
    others: tuple[Subject, ...]

    def all(self) -> tuple[Subject, ...]:
        return (self.direct, *self.others)


def system_object(soname: str) -> str:
    """Where the loader's cache has `soname`, '' if nowhere."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([program, "-p"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found = re.search(rf"^\s*{re.escape(soname)} \(libc6,x86-64.*=> (\S+)$", listing, re.MULTILINE)
        return found.group(1) if found else ""
    return ""


def has_profiler(jemalloc: str) -> bool:
    """Was this libjemalloc built with its heap profiler?"""
    shown = subprocess.run(["/bin/true"], capture_output=True, text=True,
                           env={"LD_PRELOAD": jemalloc, "MALLOC_CONF": "stats_print:true"})
    return "config.prof: true" in shown.stdout + shown.stderr


def choose_groups(library: Path, wanted: list[str]) -> tuple[list[Group], list[str]]:
    """\\return the groups that this machine can run, and a line for each that it cannot"""
    direct_objects = {
        "system": "",
        "jemalloc": system_object("libjemalloc.so.2"),
        "mimalloc2": system_object("libmimalloc.so.2"),
        "mimalloc3": str(library.parent / "backends" / "libmimalloc3.so"),
    }
    groups: list[Group] = []
    left_out: list[str] = []
    for backend, path in direct_objects.items():
        if backend not in wanted:
            continue
        if backend != "system" and not (path and Path(path).exists()):
            left_out.append(f"{backend}: its shared object is not on this machine")
            continue
        preload = {"LD_PRELOAD": path} if path else {}
        under_mallard = {"LD_PRELOAD": str(library), "ALLOC_BACKEND": backend, "ALLOC_STRICT": "1"}
        others = [Subject(backend, mode, under_mallard | {"ALLOC_MODE": mode}) for mode in ("sample", "off")]
        if backend == "jemalloc":
            if has_profiler(path):
                others.append(Subject(backend, "profiler", preload | {"MALLOC_CONF": JEMALLOC_PROFILER}))
            else:
                left_out.append("jemalloc's own profiler: config.prof is false in this libjemalloc")
        groups.append(Group(Subject(backend, "direct", preload), tuple(others)))
    return groups, left_out


def complaint_of(subject: Subject) -> str:
    """Why mallard cannot serve as `subject` asks, '' if it can: no figure may come from another allocator."""
    if not subject.kind in ("sample", "off"):
        return ""
    tried = subprocess.run(["/bin/true"], capture_output=True, text=True,
                           env=subject.environment() | {"ALLOC_VERBOSE": "1"})
    serves = re.search(r"allocator (\S+) (\d*).* serves this process", tried.stderr)
    served = serves and (serves.group(1) + serves.group(2) if "mimalloc" in serves.group(1) else serves.group(1))
    return "" if tried.returncode == 0 and served == subject.backend else tried.stderr.strip() or "no answer"
