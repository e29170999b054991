# SPDX-License-Identifier: Apache-2.0
"""The programs of tests/workloads: building one, running it under the preload, and what it said."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from support.backends import mimalloc3_path, shared_object
from support.compiler import build_case
from support.framework import PATIENCE, Failure, Test, locked
from support.report_schema import expanded

SOURCES = Path(__file__).resolve().parent
BACKENDS = ("system", "jemalloc", "mimalloc2", "mimalloc3")
ARCHIVE = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.a")
RENAMED = ("malloc calloc realloc free posix_memalign aligned_alloc memalign valloc malloc_usable_size malloc_stats "
           "malloc_message malloc_conf").split()


@dataclass(frozen=True)
class Run:
    truth: dict[str, Any]
    reports: list[dict[str, Any]]    # in the order in which they were asked for

    @property
    def report(self) -> dict[str, Any]:
        return self.reports[-1]


def build_workload(t: Test, name: str) -> Path:
    source = str(SOURCES / f"{name}.cpp")
    if name == "lmdb_map":
        if not Path("/usr/include/lmdb.h").exists():
            t.skip("lmdb.h is not installed (package liblmdb-dev)")
        return build_case(t, source, "-llmdb")
    if name == "embedded_allocator":
        return build_case(t, source, "-lm", "-ldl", "-rdynamic", links=(embedded_jemalloc(t),))
    if name == "known_heap":  # the C++ library would take memory from malloc, which is in nobody's books
        return build_case(t, source, "-fno-exceptions", "-Wl,--as-needed", "-ldl")
    return build_case(t, source, "-ldl")


def embedded_jemalloc(t: Test) -> Path:
    """jemalloc's archive with names of its own, so that the program's malloc stays whoever serves it."""
    if not ARCHIVE.exists():
        t.skip(f"{ARCHIVE} is not installed (package libjemalloc-dev)")
    folder = t.build / "e2e" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "libembedded.a"
    with locked(folder / ".libembedded.lock"):
        if target.exists():
            return target
        listing = subprocess.run(["nm", "--defined-only", "-g", str(ARCHIVE)], capture_output=True, text=True)
        names = {line.split()[-1] for line in listing.stdout.splitlines() if len(line.split()) == 3}
        # The operators of C++ are in an object of their own, which nothing pulls in once its malloc is renamed.
        pairs = [(name, "je_" + name) for name in RENAMED]
        pairs += [(name, "je_" + name) for name in sorted(names) if name.startswith(("_Znw", "_Zna", "_Zdl", "_Zda"))]
        renames = folder / "libembedded.names"
        renames.write_text("".join(f"{old} {new}\n" for old, new in pairs))
        made = folder / "libembedded.a.tmp"
        subprocess.run(["objcopy", f"--redefine-syms={renames}", str(ARCHIVE), str(made)], check=True)
        made.replace(target)
    return target


ASK_FOR_SLABS = """
import ctypes
def ask(name, kind):
    value, size = kind(), ctypes.c_size_t(ctypes.sizeof(kind))
    got = ctypes.CDLL(None).mallctl(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    assert got == 0, name
    return value.value
def bin(i, what):
    return ask("arenas.bin.%d.%s" % (i, what), ctypes.c_size_t)
print(",".join("%d:%d" % (bin(i, "size"), bin(i, "slab_size")) for i in range(ask("arenas.nbins", ctypes.c_uint))))
"""


@lru_cache
def slab_sizes(library: str) -> str:
    """Size classes and slab sizes of the installed jemalloc, which has the version of the built-in one. It can only be
    preloaded: it wants more static TLS than a running process has left."""
    done = subprocess.run([sys.executable, "-S", "-c", ASK_FOR_SLABS], capture_output=True, text=True,
                          env={"LD_PRELOAD": library})
    if done.returncode != 0:
        raise Failure(f"jemalloc does not tell its slab sizes: {done.stderr[-300:]}")
    return done.stdout.strip()


def units_environment(t: Test) -> dict[str, str]:
    """Tells the program what its backend can give back as a whole (live_heap.hpp)."""
    if t.backend.name == "jemalloc":
        library = shared_object("libjemalloc.so.2")
        if not library:
            t.skip("libjemalloc.so.2 is not installed (package libjemalloc2)")
        return {"WORKLOAD_SLABS": slab_sizes(library)}
    if t.backend.name == "mimalloc2":
        return {"WORKLOAD_MIMALLOC": shared_object("libmimalloc.so.2")}
    if t.backend.name == "mimalloc3":
        return {"WORKLOAD_MIMALLOC": str(mimalloc3_path(t.build).resolve())}
    if t.backend.name == "tcmalloc":
        return {"WORKLOAD_TCMALLOC": t.backend.value}
    return {}


def run_workload(t: Test, name: str, arguments: Sequence[object], seconds: float = 120, **extra: str) -> Run:
    program = build_workload(t, name)
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=t.dir) as folder:
        env = t.preload_env(ALLOC_REPORT=f"{folder}/report.%n", WORKLOAD_REPORTS=folder, ALLOC_STRICT="1",
                            **(extra if any(name.startswith("WORKLOAD_") for name in extra)
                               else units_environment(t) | extra))
        done = subprocess.run([program, *map(str, arguments)], env=env, cwd=folder, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE * seconds)
        said = f"{name} {' '.join(map(str, arguments))}: status {done.returncode}: {done.stderr.strip()[-400:]}"
        if done.returncode != 0:
            raise Failure(said)
        reports = sorted(Path(folder).glob("report.*.json"))
        if not reports:
            raise Failure(f"no report; {said}")
        run = Run(json.loads(done.stdout.splitlines()[-1]), [expanded(json.loads(path.read_text())) for path in reports])
        shutil.copy(reports[-1], t.dir / f"{name}.json")  # stays if the test fails
        shutil.copy(reports[-1].with_suffix(".txt"), t.dir / f"{name}.txt")
        (t.dir / f"{name}.truth.json").write_text(json.dumps(run.truth, indent=1) + "\n")
        return run
