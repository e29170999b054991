# SPDX-License-Identifier: Apache-2.0
"""Under a limit on address space (ulimit -v) a host gets what it would get without mallard, but for what the code of
libmallard.so takes: its tables give back what they have not used before an allocation fails."""
from __future__ import annotations

import pytest

from support.backends import direct_objects
from support.compiler import build_case
from support.framework import Test
from support.marks import backends, every_backend
from support.reports import check_written, report_files

LIMIT = 256 * 1024  # KiB
# What allocators take from the kernel at once, and the tables have open: jemalloc's extents grow as the heap does, a
# segment of mimalloc may be taken beside the one that had room.
STEP = 2048
STEPS = {"jemalloc": 48 * 1024, "mimalloc2": 64 * 1024, "mimalloc3": 64 * 1024}


def got(t: Test, env: dict[str, str], *words: str) -> tuple[int, int]:
    program = build_case(t, "until_null.c")
    done = t.run(["/bin/sh", "-c", f'ulimit -v {LIMIT}; exec "$@"', "sh", program, *words], env)
    t.check("mallard: error" not in done.stderr, f"stderr: {done.stderr[-300:]!r}")
    kib, library = done.stdout.split()
    return int(kib), int(library)


def bare(t: Test) -> int:
    direct = direct_objects(t.build)[t.backend.name]
    if t.backend.name == "tcmalloc":
        direct = t.backend.value
    if t.backend.name != "system" and not direct:
        t.skip(f"{t.backend.name} is not installed")
    return got(t, t.plain_env(LD_PRELOAD=direct))[0]


@every_backend
@pytest.mark.parametrize("mode", ["off", "sample"])
def test_host_gets_what_it_gets_without(t: Test, mode: str) -> None:
    without = bare(t)
    kib, library = got(t, t.preload_env(ALLOC_MODE=mode))
    step = STEPS.get(t.backend.name, STEP)
    t.notes.append(f"{kib} KiB of {without}, {library} taken by code and data of libmallard.so")
    t.check(kib >= without - library - step, f"{kib} KiB, {without} without mallard, whose code takes {library}")


@backends("system")
def test_off_reserves_nothing(t: Test) -> None:
    """Sample mode gets within a step of what mode off gets, whose only cost is the library's code and data."""
    off, sample = (got(t, t.preload_env(ALLOC_MODE=mode))[0] for mode in ("off", "sample"))
    t.check(sample >= off - STEP, f"{sample} KiB in sample mode, {off} in mode off")


@backends("system", "mimalloc2")
def test_recording_goes_on(t: Test) -> None:
    """What was recorded stays, and the report says that the tables have given back."""
    got(t, t.preload_env(ALLOC_SAMPLE_BYTES="20000"), "report")
    files = report_files(t.dir)
    t.equal(len(files), 1, "reports")
    report = check_written(t, files[0])
    recording = report.data["recording"]
    t.check(recording["given_back_bytes"] > 0, "nothing was given back")
    t.check(recording["samples"] > 5000, f"{recording['samples']} samples")
    t.check("the tables grow no more" in report.text, "the text does not say so")


@backends("system")
@pytest.mark.parametrize("limit", ["unlimited", str(LIMIT)])
def test_other_refusals_take_nothing(t: Test, limit: str) -> None:
    """A mapping that is refused for another reason than the limit: the tables keep what they have."""
    program = build_case(t, "mapping_refused.c")
    done = t.run(["/bin/sh", "-c", f'ulimit -v {limit}; exec "$0"', program], t.preload_env())
    t.check("mallard: error" not in done.stderr, f"stderr: {done.stderr[-300:]!r}")
    report = check_written(t, report_files(t.dir)[0])
    t.equal(report.data["recording"]["given_back_bytes"], 0, "bytes given back")
