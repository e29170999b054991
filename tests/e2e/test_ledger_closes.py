# SPDX-License-Identifier: Apache-2.0
"""The ledger of processes of uncommon shapes, against their own books and the kernel's figures: each shape where the
page tables can be read, on a kernel without PAGEMAP_SCAN, after privileges were dropped, and under a filter."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import processes
from support.compiler import build_case
from support.framework import Test, wait_until
from support.reports import ask_and_check

# The method where page tables cannot be read is the weaker one, and the report has to say so.
METHODS = {"open": {"pagemap_scan", "pagemap"}, "old": {"pagemap"}, "nobody": {"smaps"}, "locked": {"smaps"}}
SLACK_BYTES = 256 << 10
# The page table entries of 8 TiB are 16 GiB.
MOST_READ_BYTES = 256 << 20


def read_bytes(pid: int) -> int:
    """What the process has read of files, those of /proc among them."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def rss_file(pid: int) -> int:
    return int(processes.status_field(pid, "RssFile").split()[0]) * 1024


@pytest.mark.parametrize(("backend", "mode"), [("system", "sample"), ("jemalloc", "exact")], indirect=["backend"])
@pytest.mark.parametrize("how", list(METHODS))
@pytest.mark.parametrize("shape", ["reserved", "view", "break", "mappings", "lazy"])
def test_lines_are_what_the_program_holds(t: Test, shape: str, how: str, mode: str) -> None:
    if how in ("nobody", "locked") and os.getuid() != 0:
        t.skip("only root can give up its privileges")
    t.tmp.chmod(0o777)  # the sources may lie where only root gets to
    env = t.preload_env(ALLOC_MODE=mode, ALLOC_REPORT=str(t.tmp / "report.%e.%p.%n"))
    process = t.start([build_case(t, "ledger_shapes.c"), how, shape], env)
    ready = wait_until(lambda: t.output_of(process).split(), 30, "the program to be ready")
    live, mapped, freed = (int(word) for word in ready[1:4])
    read_before, files = read_bytes(process.pid), rss_file(process.pid)
    data = ask_and_check(t, process, directory=t.tmp).data
    read, files_after = read_bytes(process.pid) - read_before, rss_file(process.pid)
    about = data["ledger_about"]
    t.check(about["residency"] in METHODS[how], f"read by {about['residency']}")
    t.equal(about["unread_bytes"], 0, "address space that was not read")
    allowed = about["rss_bytes"] / 100
    t.check(abs(data["unexplained_bytes"]) <= allowed,
            f"{data['unexplained_bytes']} of {about['rss_bytes']} are unexplained")
    lines = {line["cause"]: line for line in data["ledger"]}
    found = lines["live"]["bytes"] + lines["rounding"]["bytes"]
    t.check(abs(found - live) <= allowed + SLACK_BYTES, f"{found} bytes are live instead of {live}")
    own = sum(detail["bytes"] for detail in lines["anonymous"]["details"]
              if detail["name"].endswith("/ledger_shapes"))
    # The kernel counts what was freed lazily once a batch of 31 pages of a processor is full.
    slack = SLACK_BYTES if freed else 8192
    t.check(abs(own - mapped) <= mapped / 100 + slack, f"the program mapped {mapped}, and is said to hold {own}")
    t.check(abs(lines["lazily_freed"]["bytes"] - freed) <= freed / 100 + SLACK_BYTES,
            f"{lines['lazily_freed']['bytes']} are lazily freed instead of {freed}")
    t.check(files - SLACK_BYTES <= lines["files"]["bytes"] <= files_after + SLACK_BYTES,
            f"{lines['files']['bytes']} are files, RssFile is {files} to {files_after}")
    t.check(read <= MOST_READ_BYTES, f"the report read {read} bytes")
    process.kill()
    process.wait()
