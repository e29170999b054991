# SPDX-License-Identifier: Apache-2.0
"""Who is measured: each backend loaded directly and under mallard, and the profilers that people use today."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.backends import direct_objects

CLEARED = ("LD_PRELOAD", "MALLOC_CONF", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "PYTHONMALLOC", "LD_LIBRARY_PATH",
           "HEAPPROFILE", "TCMALLOC_SAMPLE_PARAMETER", "DUMP_HEAPTRACK_OUTPUT")
JEMALLOC_PROFILER = "prof:true,prof_active:true,lg_prof_sample:19"  # 2^19 = mallard's default of 512 KiB

MODES = ("sample", "off", "exact")
LATENCY = "latency"  # sample mode, and calls are timed
IN_PROCESS_PEERS = ("profiler", "sampler", "recorder")
PEERS = (*IN_PROCESS_PEERS, "heaptrack")  # dhat only where a workload is small enough for it


@dataclass(frozen=True)
class Subject:
    """One way of serving malloc. `kind` is 'direct' (what the others are compared with), a mode of mallard, LATENCY
    or a peer: 'profiler' and 'sampler' (the allocator's own), 'heaptrack' as its users run it, 'recorder' (the part
    of heaptrack that runs inside the program) or 'dhat'."""
    backend: str
    kind: str
    variables: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    wrapper: tuple[str, ...] = field(default=(), compare=False, hash=False)  # in front of the command line

    @property
    def name(self) -> str:
        if self.kind in (*MODES, LATENCY):
            return f"mallard {self.backend} {self.kind}"
        return {"direct": self.backend, "profiler": f"{self.backend} own profiler",
                "sampler": f"{self.backend} own sampler",
                "recorder": "heaptrack's recorder alone"}.get(self.kind, self.kind)

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


def has_profiler(jemalloc: str) -> bool:
    """Was this libjemalloc built with its heap profiler?"""
    shown = subprocess.run(["/bin/true"], capture_output=True, text=True,
                           env={"LD_PRELOAD": jemalloc, "MALLOC_CONF": "stats_print:true"})
    return "config.prof: true" in shown.stdout + shown.stderr


def heaptrack_library() -> str:
    for folder in ("/usr/lib/heaptrack", "/usr/lib/x86_64-linux-gnu/heaptrack", "/usr/local/lib/heaptrack"):
        if Path(folder, "libheaptrack_preload.so").exists():
            return f"{folder}/libheaptrack_preload.so"
    return ""


def peers_of(backend: str, path: str, work: Path) -> tuple[list[Subject], list[str]]:
    """\\return the profilers that record on this allocator, and a line for each that is not here"""
    peers: list[Subject] = []
    left_out: list[str] = []
    if backend == "system":
        # Stacks are made sense of while the program runs, by a second process, and compressed by a third: all of them
        # are the time that its user waits for or shares the machine with. The recorder alone writes to /dev/null.
        if (library := heaptrack_library()) and shutil.which("heaptrack"):
            peers.append(Subject(backend, "heaptrack", {}, ("heaptrack", "-o", str(work / "heaptrack"))))
            peers.append(Subject(backend, "recorder",
                                 {"LD_PRELOAD": library, "DUMP_HEAPTRACK_OUTPUT": os.devnull}))
        else:
            left_out.append("heaptrack is not installed")
        if shutil.which("valgrind"):
            peers.append(Subject(backend, "dhat", {}, ("valgrind", "--tool=dhat", "--dhat-out-file=/dev/null")))
    if backend == "jemalloc":
        if has_profiler(path):
            peers.append(Subject(backend, "profiler", {"LD_PRELOAD": path, "MALLOC_CONF": JEMALLOC_PROFILER}))
        else:
            left_out.append("jemalloc's own profiler: config.prof is false in this libjemalloc")
    if backend == "tcmalloc":
        # No dumps on the way: only what recording costs. HEAPPROFILE writes one when the process ends.
        quiet = {"HEAP_PROFILE_ALLOCATION_INTERVAL": "0", "HEAP_PROFILE_INUSE_INTERVAL": "0"}
        peers.append(Subject(backend, "sampler", {"LD_PRELOAD": path, "TCMALLOC_SAMPLE_PARAMETER": "524288"}))
        peers.append(Subject(backend, "profiler", {"LD_PRELOAD": path, "HEAPPROFILE": str(work / "gperftools")} | quiet))
    return peers, left_out


def choose_groups(library: Path, wanted: list[str]) -> tuple[list[Group], list[str]]:
    """\\return the groups that this machine can run, and a line for each that it cannot"""
    groups: list[Group] = []
    left_out: list[str] = []
    for backend, path in direct_objects(library.parent).items():
        if backend not in wanted:
            continue
        if backend != "system" and not (path and Path(path).exists()):
            left_out.append(f"{backend}: its shared object is not on this machine")
            continue
        preload = {"LD_PRELOAD": path} if path else {}
        name = path if backend == "tcmalloc" else backend  # no backend of its own name: by path
        under_mallard = {"LD_PRELOAD": str(library), "ALLOC_BACKEND": name, "ALLOC_STRICT": "1"}
        others = [Subject(backend, mode, under_mallard | {"ALLOC_MODE": mode}) for mode in MODES]
        others.append(Subject(backend, LATENCY, under_mallard | {"ALLOC_LATENCY": "1"}))
        peers, missing = peers_of(backend, path, library.parent / "bench")
        left_out += missing
        groups.append(Group(Subject(backend, "direct", preload), tuple(others + peers)))
    return groups, left_out


def complaint_of(subject: Subject) -> str:
    """Why mallard cannot serve as `subject` asks, '' if it can: no figure may come from another allocator."""
    if subject.kind not in (*MODES, LATENCY):
        return ""
    tried = subprocess.run(["/bin/true"], capture_output=True, text=True,
                           env=subject.environment() | {"ALLOC_VERBOSE": "1"})
    serves = re.search(r"allocator (\S+?)(?: (\d*).*)? serves this process", tried.stderr)
    served = serves and serves.group(1) + (serves.group(2) if "mimalloc" in serves.group(1) else "")
    return "" if tried.returncode == 0 and served == subject.backend else tried.stderr.strip() or "no answer"
