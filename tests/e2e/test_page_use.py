# SPDX-License-Identifier: Apache-2.0
"""Pages that are shared, given back or private copies of a file's, held against what the kernel says in smaps."""
from __future__ import annotations

from support.compiler import build_case
from support.framework import Test, wait_until
from support.idle import finish_idle, start_idle
from support.reports import Report, ask_and_check

MIB = 2**20


def smaps_of(pid: int) -> dict[str, int]:
    """Sums over all mappings, in bytes."""
    sums: dict[str, int] = {}
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words[-1] == "kB":
                sums[words[0]] = sums.get(words[0], 0) + int(words[1]) * 1024
    return sums


def line_of(report: Report, cause: str) -> int:
    return sum(line["bytes"] for line in report.data["ledger"] if line["cause"] == cause)


def test_shared_freed_and_copied_pages(t: Test) -> None:
    """A report of a forked child leaves its heap shared, and says so; mappings tell what else they hold."""
    process = start_idle(t, t.preload_env(), program=build_case(t, "page_use.c"), words=[str(t.dir / "data")])
    child = int(wait_until(lambda: t.output_of(process).split()[1:2], 5, "the child's pid")[0])
    before = smaps_of(child)
    report = ask_and_check(t, child)
    after, memory = smaps_of(child), report.data["memory"]
    shared = before["Shared_Clean:"] + before["Shared_Dirty:"]
    t.check(shared > 16 * MIB, f"the child shares {shared} bytes only: the test shows nothing")
    t.check(abs(memory["with_others_bytes"] - shared) < 2 * MIB,
            f"{memory['with_others_bytes']} bytes are told to be shared instead of {shared}")
    unshared = after["Private_Dirty:"] - before["Private_Dirty:"]
    t.check(unshared < 4 * MIB, f"the report made {unshared} bytes of the child private")
    # The kernel counts what was freed lazily once a batch of 31 pages of a processor is full.
    t.check(abs(line_of(report, "lazily_freed") - 8 * MIB) < MIB // 2,
            f"lazily freed: {line_of(report, 'lazily_freed')} instead of 8 MiB")
    t.check(memory["lazily_freed_known"], "nobody looked for lazily freed pages")
    t.check(3 * MIB <= line_of(report, "file_copies") < 4 * MIB, "3 MiB of private copies are not told")
    counts = report.data["rss"]["anonymous_bytes"] + report.data["rss"]["shared_memory_bytes"] - after["LazyFree:"]
    t.check(abs(memory["counts_bytes"] - counts) < MIB // 2, f"{memory['counts_bytes']} bytes count instead of {counts}")
    t.check("memory that counts" in report.text, "the text does not say which memory counts")
    finish_idle(t, process)
