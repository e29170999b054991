# SPDX-License-Identifier: Apache-2.0
"""One report of each program: the ledger closes, every cause that the program knows of is right, so is the verdict."""
from __future__ import annotations

from pathlib import Path

import pytest

from support.backends import mimalloc3_path, shared_object
from support.framework import Test
from support.marks import backends

from .judge import cause_complaints, close_complaints, unexplained_share, verdict_complaints
from .workloads import BACKENDS, Run, run_workload


def judge(t: Test, run: Run, *more: str) -> None:
    wrong = [*more, *close_complaints(run.report), *cause_complaints(run.report, run.truth),
             *verdict_complaints(run.report, run.truth)]
    rss, said = run.truth["rss_bytes"], run.report["rss"]["total_bytes"]
    # mallard's reporter comes between the program's own look and the report's.
    if not -0.01 * rss - (1 << 20) < said - rss < 0.02 * rss + (24 << 20):
        wrong.append(f"the program read an Rss of {rss}, the report says {said}")
    t.notes.append(f"unexplained {100 * unexplained_share(run.report):.3f} %, verdict {run.report['verdict']['cause']}")
    t.check(not wrong, "; ".join(wrong))


@backends(*BACKENDS)
@pytest.mark.parametrize("name, megabytes", [
    ("plain", 60), ("leak", 100), ("arena_kept", 100), ("ratcheting_chunks", 100),
    ("arena_no_destructors", 80), ("second_allocator", 100), ("embedded_allocator", 100),
    ("partly_touched", 500), ("madv_free", 100), ("thread_stacks", 128),
    ("cross_thread_frees", 60), ("thread_churn", 80), ("huge_pages", 100),
    ("shared_memory", 60), ("pinned_pages", 200)])
def test_cause(t: Test, name: str, megabytes: int) -> None:
    judge(t, run_workload(t, name, [megabytes, 1]))


@backends(*BACKENDS)
def test_second_allocator_loaded(t: Test) -> None:
    """A shared object that brings an allocator which the program calls by its own name."""
    path = shared_object("libmimalloc.so.2")
    if t.backend.name == "mimalloc2":
        path = str(mimalloc3_path(t.build).resolve())
    if not Path(path).is_file():
        t.skip("there is no other mimalloc to load")
    judge(t, run_workload(t, "second_allocator", [100, 1, path, "mi_malloc"]))


@backends(*BACKENDS)
def test_lmdb_map(t: Test) -> None:
    judge(t, run_workload(t, "lmdb_map", [120, 1, t.tmp]))


@backends(*BACKENDS)
def test_decay_after_burst(t: Test) -> None:
    judge(t, run_workload(t, "decay_after_burst", [150, 1, 0]))


@backends(*BACKENDS)
def test_decay_after_ten_seconds(t: Test) -> None:
    """What decays by itself is no longer there: the verdict has to tell it from pinned pages."""
    run = run_workload(t, "decay_after_burst", [150, 1, 11_000])
    judge(t, run)


@backends("jemalloc")
def test_lazily_freed_by_the_allocator(t: Test) -> None:
    # 150 times shorter than what is waited: decay goes by the ticks of the allocator, which come when they like.
    run = run_workload(t, "decay_after_burst", [150, 1, 3000], MALLOC_CONF="dirty_decay_ms:20,muzzy_decay_ms:-1")
    t.equal(run.truth["verdicts"], ["lazily_freed"], "what the program itself finds")
    judge(t, run)
