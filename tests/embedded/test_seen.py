# SPDX-License-Identifier: Apache-2.0
"""Allocators beside mallard that are not taken over: the report names them and says how much they hold, or says
what it cannot tell; it also says whose malloc leads elsewhere. Each program fills a known number of megabytes."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.compiler import build_case
from support.framework import Test
from support.marks import backends
from support.reports import Report, ask

from .programs import SOURCES, case, holding

MEGABYTES = 48
BYTES = MEGABYTES << 20


def library(t: Test, name: str, *flags: str, output: str) -> Path:
    return build_case(t, str(SOURCES / "cases" / name), *flags, output=output, shared=True)


def report_of(t: Test, *command: str | Path, check: bool = False, **variables: str) -> tuple[Report, dict[str, Any]]:
    """Runs until it is ready. \\return its report, and what `mallard check` says of the process"""
    checked: dict[str, Any] = {}
    with holding(t, *command, **variables) as pid:
        report, _ = ask(pid, t.dir)
        if check:
            done = subprocess.run([t.build / "mallard", "check", "--json", str(pid)], capture_output=True,
                                  text=True, check=False)
            t.equal(done.returncode, 0, f"status of mallard check ({done.stderr[-200:]})")
            checked = json.loads(done.stdout)
    return report, checked


def the_one(t: Test, report: Report) -> dict[str, Any]:
    found = report.data["embedded_allocators"]
    t.equal(len(found), 1, f"number of allocators ({[a['name'] for a in found]})")
    return found[0]


def require_bytes(t: Test, found: dict[str, Any]) -> None:
    resident, mapped = found["resident_bytes"], found["mapped_bytes"]
    t.check(BYTES <= resident <= BYTES * 1.02, f"{resident} bytes are resident, of {BYTES} that were filled")
    t.check(mapped >= resident, f"{mapped} bytes are mapped, but {resident} resident")


def require_second(t: Test, report: Report, *words: str) -> None:
    verdict = report.data["verdict"]
    t.equal(verdict["cause"], "second_allocator", "the verdict")
    for word in words:
        t.check(word in verdict["text"] + verdict["next_step"], f"'{word}' is neither in the verdict nor its next step: {verdict}")


def test_by_symbol(t: Test) -> None:
    program = case(t, "carrier.c", output="carrier")
    report, _ = report_of(t, program, str(MEGABYTES))
    found = the_one(t, report)
    t.equal((found["object"], found["name"], found["recognised_by"], found["status"], found["calls"]),
            (str(program), "rpmalloc", "symbol rpmalloc", "reported", None), "the allocator")
    require_bytes(t, found)
    require_second(t, report, "held by rpmalloc", "could not take it over")
    t.check("rpmalloc in carrier: 48.0 MiB resident" in report.text, "the text does not say how much it holds")


def test_stripped(t: Test) -> None:
    report, _ = report_of(t, case(t, "carrier.c", "-DTEXTS", "-s", output="carrier_stripped"), str(MEGABYTES))
    found = the_one(t, report)
    t.equal((found["name"], found["version"], found["recognised_by"]),
            ("jemalloc", "5.3.0", "text '<jemalloc>: '"), "the allocator")
    require_bytes(t, found)
    require_second(t, report, "held by jemalloc 5.3.0", "it is stripped")


def test_two_in_one_library(t: Test) -> None:
    """Each with what it holds itself; what neither is known to have mapped is nobody's."""
    carried = library(t, "two_carried.c", output="libtwo.so")
    report, _ = report_of(t, case(t, "opener.c", output="opener_of_two"), carried, str(MEGABYTES))
    found = {a["name"]: a for a in report.data["embedded_allocators"]}
    t.equal(sorted(found), ["jemalloc", "mimalloc"], "the allocators")
    for name, part in (("mimalloc", 1), ("jemalloc", 2)):
        t.equal(found[name]["object"], str(carried), f"where {name} is")
        t.equal(found[name]["resident_bytes"], BYTES * part // 3, f"what {name} holds")
    require_second(t, report, "32.0 MiB of the program", "held by jemalloc inside libtwo.so")
    details = [d for line in report.data["ledger"] if line["cause"] == "anonymous" for d in line["details"]]
    other = [d for d in details if d["bytes"] == 1 << 20 and d.get("function") == "map_table"]
    t.check(len(other) == 1 and not other[0].get("allocator"), f"the memory of neither: {details}")
    done = subprocess.run([t.build / "mallard", "check", carried], capture_output=True, text=True, check=False)
    for words in ("carries mimalloc inside (mi_malloc)", "carries jemalloc inside (je_own_private_je_arena_malloc)"):
        t.check(words in done.stdout, f"mallard check does not say '{words}': {done.stdout}")
    t.check("can have" not in done.stdout and "ALLOC_EMBEDDED" not in done.stdout,
            f"a take-over is foretold of a library: {done.stdout}")


def test_names_of_another(t: Test) -> None:
    """An allocator with jemalloc's interface is one allocator, not two."""
    carried = library(t, "two_carried.c", "-DCOMPATIBLE", output="libcompatible.so")
    report, _ = report_of(t, case(t, "opener.c", output="opener_compatible"), carried, str(MEGABYTES))
    found = the_one(t, report)
    t.equal((found["name"], found["recognised_by"]), ("rpmalloc", "symbol rpmalloc"), "the allocator")
    require_bytes(t, found)


def test_by_bare_system_calls(t: Test) -> None:
    """Nobody can see who maps then; the report must say so, and how much it is."""
    report, _ = report_of(t, case(t, "carrier.c", "-DRAW", output="carrier_raw"), str(MEGABYTES))
    found = the_one(t, report)
    t.equal((found["name"], found["resident_bytes"]), ("rpmalloc", 0), "the allocator")
    unseen = report.data["nobody_saw_bytes"]
    t.check(BYTES <= unseen <= BYTES * 1.02, f"{unseen} bytes were mapped by nobody, of {BYTES}")
    require_second(t, report, "rpmalloc inside carrier_raw was not seen to map any")
    t.check("Not told apart: 48." in report.text, "the text does not say how much is not told apart")


def test_in_a_library(t: Test) -> None:
    carrier = library(t, "carrier.c", "-DLIBRARY", output="libcarrier.so")
    report, _ = report_of(t, case(t, "opener.c", "-ldl", output="opener"), carrier, str(MEGABYTES))
    found = the_one(t, report)
    t.equal((found["object"], found["name"]), (str(carrier), "rpmalloc"), "the allocator")
    require_bytes(t, found)
    require_second(t, report, "not what is in a library")


def test_bound_by_deepbind(t: Test) -> None:
    binder = library(t, "binder.c", output="binder.so")
    opener = case(t, "opener.c", "-ldl", output="opener")
    report, checked = report_of(t, opener, binder, str(MEGABYTES), "deep", check=True)
    bound = report.data["bound_elsewhere"]
    t.equal([(Path(b["object"]).name, Path(b["bound_to"]).name) for b in bound], [("binder.so", "libc.so.6")], "bound elsewhere")
    t.check(bound[0]["references"] >= 1, f"references: {bound}")
    objects = {Path(o["path"]).name: o for o in checked["objects"]}
    t.equal([Path(b["object"]).name for b in objects["binder.so"]["bindings"]], ["libc.so.6"], "bindings of binder.so")
    t.equal([Path(b["object"]).name for b in objects["opener"]["bindings"]], ["libmallard.so"], "bindings of opener")
    t.check(any(f["id"] == "bound_elsewhere" for f in objects["binder.so"]["findings"]), f"findings: {objects['binder.so']}")
    t.check(all(f["id"] != "bound_elsewhere" for n, o in objects.items() if n != "binder.so" for f in o["findings"]),
            "another object is said to be bound elsewhere, too")
    if t.backend.name == "system":
        return
    found = the_one(t, report)
    t.equal((found["name"], found["why"]), ("glibc malloc", "binder.so is bound to it"), "the allocator")
    require_bytes(t, found)
    require_second(t, report, "glibc malloc")


def bytes_of(report: Report, cause: str) -> int:
    return next(line["bytes"] for line in report.data["ledger"] if line["cause"] == cause)


@pytest.mark.parametrize("way", ["deep", "pointer"])
@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_blocks_allocated_past_mallard(t: Test, mode: str, way: str) -> None:
    """They are nobody's: neither the program's own site has them, nor are they free."""
    binder = library(t, "binder.c", "-DBLOCK=200", output="small_binder.so")
    program = case(t, "past_mallard.c", "-ldl", "-fno-builtin", output="past_mallard")
    report, _ = report_of(t, program, way, binder, str(MEGABYTES), ALLOC_MODE=mode, ALLOC_SAMPLE_BYTES="64K")
    past = bytes_of(report, "past_mallard")
    if t.backend.name != "system":
        # The blocks are glibc's, which does not serve: a second allocator.
        t.equal(past, 0, "live bytes past mallard")
        t.check(bytes_of(report, "anonymous") >= BYTES, f"the ledger: {report.data['ledger']}")
        return
    slack = BYTES // 100 if mode == "exact" else BYTES // 10
    t.check(abs(past - BYTES) <= slack, f"{past} bytes are live past mallard, and not {BYTES}")
    t.check("live, past mallard" in report.text, "the text does not have the line")
    site = max(report.data["sites"], key=lambda s: s["resident_bytes"])
    t.check(site["resident_bytes"] <= 16.64e6 * (1.01 if mode == "exact" else 1.5),
            f"the program's own 16 MB are charged {site['resident_bytes']} resident bytes")
    for cause in ("holes", "retained"):
        t.check(bytes_of(report, cause) <= 2 << 20, f"{cause} has {bytes_of(report, cause)} bytes, and nothing is free")
    t.equal([b["to_server"] for b in report.data["bound_elsewhere"]], [True] if way == "deep" else [], "bound to the server")
    named = "small_binder.so, 1 call bound to libc.so.6" if way == "deep" else "No loaded object is known to call"
    t.check(named in report.text, f"the text does not say '{named}'")
    t.equal([c["name"] for c in report.data["checks"] if c["state"] == "failed"], [], "checks that fail")


@pytest.mark.parametrize("mode", ["sample", "exact"])
@backends("system", "jemalloc", "mimalloc2")
def test_nothing_past_mallard(t: Test, mode: str) -> None:
    program = case(t, "past_mallard.c", "-ldl", "-fno-builtin", output="past_mallard")
    report, _ = report_of(t, program, "none", "-", "0", ALLOC_MODE=mode)
    t.equal(bytes_of(report, "past_mallard"), 0, "live bytes past mallard")
    t.check("past mallard" not in report.text, "the text tells of blocks past mallard")
    t.equal([c["name"] for c in report.data["checks"] if c["state"] == "failed"], [], "checks that fail")


def test_bound_to_its_own(t: Test) -> None:
    own = library(t, "binder.c", "-DOWN", "-Wl,-Bsymbolic", output="symbolic.so")
    report, _ = report_of(t, case(t, "opener.c", "-ldl", output="opener"), own, str(MEGABYTES))
    t.equal([(Path(b["object"]).name, b["bound_to"], b["references"]) for b in report.data["bound_elsewhere"]],
            [("symbolic.so", str(own), 0)], "bound elsewhere")
    found = the_one(t, report)
    t.equal((found["object"], found["exports_malloc"]), (str(own), True), "the allocator")
    require_bytes(t, found)
    require_second(t, report, "-Bsymbolic")


@backends("system", "jemalloc", "mimalloc2", "mimalloc3", "tcmalloc")
def test_no_false_alarm(t: Test) -> None:
    """Without RTLD_DEEPBIND the same library's blocks are mallard's, and nothing is to be named."""
    binder = library(t, "binder.c", output="binder.so")
    for flags, name in (((), "opener"), (("-no-pie", "-Wl,-z,lazy"), "opener_no_pie")):
        report, checked = report_of(t, case(t, "opener.c", "-ldl", *flags, output=name), binder, str(MEGABYTES), check=True)
        t.equal(report.data["embedded_allocators"], [], f"{name}: allocators")
        t.equal(report.data["bound_elsewhere"], [], f"{name}: bound elsewhere")
        t.check("does not serve" not in report.text, f"{name}: the text names somebody")
        t.equal([f["id"] for o in checked["objects"] for f in o["findings"] if f["id"] == "bound_elsewhere"], [],
                f"{name}: findings")
