# SPDX-License-Identifier: Apache-2.0
"""Without ALLOC_BACKEND a program keeps the allocator that it came with, and the report says who serves."""
from __future__ import annotations

from pathlib import Path

import pytest

from support.backends import Backend, matrix, shared_object
from support.compiler import build_case
from support.framework import Test
from support.idle import finish_idle, mallard_lines, start_idle
from support.marks import every_backend
from support.reports import Report, ask

from .test_redis import fill, serve

OWN_WORDS = "the program came with it"


def default_env(t: Test, **extra: str) -> dict[str, str]:
    """A bare preload, as a newcomer writes it."""
    env = t.preload_env(**extra)
    del env["ALLOC_BACKEND"]
    return env


def expect_served(t: Test, report: Report, name: str, path: str) -> None:
    backend = report.data["backend"]
    t.equal((backend["name"], backend["requested"], backend["served"]), (name, "next", True), "who serves")
    t.check(path in str(backend["path"]), f"it comes from {backend['path']}, not from {path}")
    t.check(f"serves malloc           {name}" in report.text and OWN_WORDS in report.text,
            f"the text does not say who serves, and why: {report.text[:1500]}")


def jemalloc_library(t: Test) -> str:
    path = shared_object("libjemalloc.so.2")
    if not path:
        t.skip("libjemalloc.so.2 is not in the loader's cache (package libjemalloc2)")
    return path


def tcmalloc(t: Test) -> Backend:
    found = next(backend for backend in matrix(t.build) if backend.name == "tcmalloc")
    if found.missing:
        t.skip(found.missing)
    return found


@pytest.mark.parametrize("by", ["preload", "run"])
def test_a_plain_program_keeps_glibc(t: Test, by: str) -> None:
    program = build_case(t, "idle.c")
    if by == "preload":
        process = start_idle(t, default_env(t))
    else:
        env = t.plain_env(ALLOC_REPORT=str(t.dir / "report.%e.%p.%n"))
        process = start_idle(t, env, program=t.build / "mallard", words=["run", "--", str(program)])
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.equal(done.stderr, "", "what is said of a report on a stderr that is no terminal")
    expect_served(t, report, "system", "libc.so.6")


@pytest.mark.parametrize("by", ["preload", "run"])
@pytest.mark.timeout(90)
def test_redis_keeps_its_jemalloc(t: Test, by: str) -> None:
    jemalloc_library(t)
    if "libjemalloc" not in t.run(["ldd", t.program("redis-server")], t.plain_env()).stdout:
        t.skip("this redis-server is not linked with libjemalloc")
    if by == "preload":
        server, _, client = serve(t, default_env(t), "server")
    else:
        server, _, client = serve_by_run(t)
    fill(client)
    report, _ = ask(server.pid, t.dir)
    expect_served(t, report, "jemalloc", "libjemalloc.so.2")
    t.check(report.data["ledger_about"]["divided"], f"the heap is not divided: {report.data['ledger_about']}")
    used = int(client.ask("INFO", "memory").split("allocator_allocated:")[1].split()[0])
    t.check(used > 5_000_000, f"redis asks its jemalloc, which has handed out {used} bytes")
    client.send("SHUTDOWN", "NOSAVE")
    t.finish(server)


def serve_by_run(t: Test):  # type: ignore[no-untyped-def]
    class ByRun(Test):
        """`t.start` under `mallard run` instead of the preload."""

        def start(self, argv, env=None, label="", **options):  # type: ignore[no-untyped-def]
            return Test.start(self, [self.build / "mallard", "run", "--", *argv], env, label, **options)

    by_run = ByRun(t.backend, t.build, t.dir, t.session)
    return serve(by_run, t.plain_env(ALLOC_REPORT=str(t.dir / "report.%e.%p.%n")), "server")


def test_a_malloc_preloaded_behind_mallard_serves(t: Test) -> None:
    behind = tcmalloc(t)
    process = start_idle(t, default_env(t, LD_PRELOAD=f"{t.library}:{behind.value}"))
    report, _ = ask(process.pid, t.dir)
    finish_idle(t, process)
    expect_served(t, report, "tcmalloc", Path(behind.value).name)


def test_a_malloc_preloaded_in_front_is_named(t: Test) -> None:
    front = tcmalloc(t)
    process = start_idle(t, default_env(t, LD_PRELOAD=f"{front.value}:{t.library}", ALLOC_VERBOSE="1"))
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.check("bypassed" in done.stderr and Path(front.value).name in done.stderr, f"stderr: {done.stderr[-300:]}")
    t.equal(report.data["backend"]["served"], False, "whether mallard serves")


def test_a_part_of_the_family_behind_mallard(t: Test) -> None:
    """A preload that defines malloc and free alone: the rest is what the program would call without mallard."""
    source = t.tmp / "part.c"
    source.write_text("#include <stddef.h>\nvoid* __libc_malloc(size_t);\nvoid __libc_free(void*);\n"
                      "void* malloc(size_t bytes) { return __libc_malloc(bytes); }\n"
                      "void free(void* p) { __libc_free(p); }\n")
    part = build_case(t, str(source), shared=True)
    process = start_idle(t, default_env(t, LD_PRELOAD=f"{t.library}:{part}"))
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.equal([line for line in mallard_lines(done.stderr) if "error" in line], [], "error lines")
    expect_served(t, report, "part.so", "part.so")


@pytest.mark.parametrize("value", ["", "system", "jemalloc", "mimalloc"])
def test_blocks_of_mallocx_and_malloc_cross(t: Test, value: str) -> None:
    """jemalloc's own interface is on the books and answered by who serves, the program's own jemalloc or another."""
    if value == "mimalloc" and next(b for b in matrix(t.build) if b.name == "mimalloc2").missing:
        t.skip("there is no mimalloc")
    program = build_case(t, "mallocx_crossing.c", jemalloc_library(t))
    env = default_env(t, ALLOC_MODE="exact", **({"ALLOC_BACKEND": value} if value else {}))
    process = start_idle(t, env, program=program)
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.equal([line for line in mallard_lines(done.stderr) if "error" in line], [], "error lines")
    kept = [site for site in report.data["sites"]
            if any(frame["function"] == "keep_by_mallocx" for frame in site["stack"])]
    t.equal((sum(site["live_bytes"] for site in kept), sum(site["live_count"] for site in kept)), (8_000_000, 2000),
            "what the books have of the blocks of mallocx")
    rest = report.data["totals"]["live_bytes"] - 8_000_000
    t.check(0 <= rest < 200_000, f"{rest} bytes of blocks that have been freed are still on the books")


@every_backend
def test_zeroed_blocks_of_mallocx_take_no_memory(t: Test) -> None:
    """Also where the backend's own calloc writes to memory that is fresh from the kernel."""
    program = build_case(t, "mallocx_zeroed.c", jemalloc_library(t))
    t.equal(t.run([program], t.preload_env()).stdout, "ok\n", "output")


def test_samples_of_mallocx_are_freed(t: Test) -> None:
    """Samples of malloc that dallocx frees, and the other way round, leave the books."""
    program = build_case(t, "mallocx_crossing.c", jemalloc_library(t))
    process = start_idle(t, default_env(t, ALLOC_SAMPLE_BYTES="64"), program=program)
    report, _ = ask(process.pid, t.dir)
    finish_idle(t, process)
    live = report.data["totals"]["live_bytes"]
    t.check(7_000_000 < live < 9_000_000, f"{live} bytes are live by samples, instead of 8 MB")
    t.equal(report.data["recording"]["missed_frees"], 0, "frees that were not seen")
