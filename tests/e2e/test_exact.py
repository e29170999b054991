# SPDX-License-Identifier: Apache-2.0
"""Exact mode and mode off: the correctness cases under both, books that agree to the byte with what programs
know, switching under load, real programs."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.compiler import build_case
from support.framework import ALL, CASES_DIR, PATIENCE, Failure, Test
from support.marks import backends, every_backend, extra
from support.reports import load

from .test_cases import directives, marks_of, run_case, wanted_backends

FIGURES = ("live_bytes", "live_count", "allocated_bytes", "allocated_count")
LAST = {"sample": "0", "exact": "2", "exact_from_sample": "12"}

# ---- the correctness cases: in exact mode all functions, and what interrupts, forks or has odd stacks; in off
# those whose code differs from sample mode.
FUNCTIONS = sorted(path.name for path in [*CASES_DIR.glob("fn_*.c"), *CASES_DIR.glob("fn_*.cpp")])
HARD = ["cancelled.c", "coroutines.c", "dlopened.c", "early_calls.c", "exit_handlers.c", "fork_busy.c",
        "handler_exits.c", "handler_forks.c", "many_threads.c", "sig_in_malloc.c", "sig_small_alternate_stack.c",
        "small_stacks.c", "tls_destructors.cpp", "weak_symbols.cpp"]
IN_OFF = ["fn_calloc.c", "fn_free.c", "fn_malloc.c", "fn_new.cpp", "fn_realloc.c", "early_calls.c", "torture.c"]
HARD_UNDER = ("system", "mimalloc3")  # linked in; loaded, with a boot arena


def parameters() -> Iterator[Any]:
    chosen = [("exact", [*FUNCTIONS, "torture.c"], ALL), ("exact", HARD, HARD_UNDER), ("off", IN_OFF, ALL)]
    for mode, names, under in chosen:
        for name in names:
            asked = directives(CASES_DIR / name)
            for backend in under if "all" in asked["BACKENDS"][0].split() else wanted_backends(asked, name):
                yield pytest.param(name, mode, backend, id=f"{Path(name).stem.removeprefix('fn_')}-{mode}-{backend}",
                                   marks=marks_of(asked))


@pytest.mark.parametrize("name, mode, backend", parameters(), indirect=["mode", "backend"])
def test_case_in_mode(t: Test, name: str) -> None:
    run_case(t, CASES_DIR / name, directives(CASES_DIR / name))


# ---- the truth
def sites_of(data: dict[str, Any], function: str) -> list[dict[str, Any]]:
    return [site for site in data["sites"]
            if any(frame["function"] == function for frame in site["stack"][:3])]


def figures_of(data: dict[str, Any], function: str) -> tuple[int, ...]:
    return tuple(sum(site[figure] for site in sites_of(data, function)) for figure in FIGURES)


def compare_run(t: Test, program: Path, seed: int) -> int:
    """Runs it once; parent and child. \\return how many figures were compared"""
    base = t.dir / f"seed{seed}"
    env = t.preload_env(ALLOC_MODE="exact", ALLOC_AT_EXIT="1", ALLOC_REPORT=f"{base}.%p")
    operations = str(300 + seed % 4 * 1500)
    done = subprocess.run([program, str(seed), operations, str(1 + seed % 4)], env=env, cwd=t.tmp, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * PATIENCE)
    if done.returncode != 0 or done.stdout.count("ok\n") != 2 or "mallard: error" in done.stderr:
        raise Failure(f"seed {seed}: status {done.returncode}: {done.stderr[-300:]!r}")
    compared = 0
    for part in done.stdout.split("process ")[1:]:
        pid, *lines = part.splitlines()
        report = load(Path(f"{base}.{pid}.json"))
        if report is None:
            raise Failure(f"seed {seed}: no report of process {pid}: {done.stderr[-300:]!r}")
        data = report.data
        t.equal(data["recording"]["mode"], "exact", "mode")
        exact = data["recording"]["exact"]
        for trouble in ("missed_frees", "unbooked", "unknown_frees"):
            t.equal(exact[trouble], 0, f"seed {seed}, process {pid}: {trouble}")
        t.equal(exact["met_blocks"], exact["live_blocks"], f"seed {seed}, process {pid}: blocks found in the heap")
        for line in lines:
            if found := re.match(r"site (\w+) (\d+) (\d+) (\d+) (\d+)$", line):
                true = tuple(map(int, found.groups()[1:]))
                t.equal(figures_of(data, found.group(1)), true,
                        f"seed {seed}, process {pid}, {found.group(1)}: {', '.join(FIGURES)}")
                compared += len(FIGURES)
        os.unlink(report.json_path)
        os.unlink(report.json_path.with_suffix(".txt"))
    return compared


def compare_runs(t: Test, runs: int) -> None:
    program = build_case(t, "exact_truth.cpp")
    with ThreadPoolExecutor(2) as pool:
        compared = list(pool.map(lambda seed: compare_run(t, program, seed), range(1, runs + 1)))
    t.check(min(compared) == 2 * 12 * len(FIGURES), f"only {min(compared)} figures in a run")
    t.notes.append(f"{sum(compared)} figures of {runs} seeds, each the truth to the byte")


@pytest.mark.parametrize("runs", [pytest.param(25), pytest.param(100, marks=extra)])
@pytest.mark.timeout(280)
def test_truth_of_many_seeds(t: Test, runs: int) -> None:
    compare_runs(t, runs)


@backends(*[backend for backend in ALL if backend != "system"])
@pytest.mark.timeout(100)
def test_truth(t: Test) -> None:
    compare_runs(t, 5)


# ---- switching
def symbol_offset(library: Path, symbol: str) -> int:
    """Where a function of the library that is not exported stands in it."""
    listing = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        if line.endswith(f" t {symbol}"):
            return int(line.split()[0], 16)
    raise Failure(f"{library} has no {symbol}")


def known_figures(t: Test, last: str, switches: int, **environment: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    program = build_case(t, "mode_switching.c")
    base = t.dir / f"switched_{last}"
    env = t.preload_env(ALLOC_AT_EXIT="1", ALLOC_REPORT=str(base), **environment)
    offset = symbol_offset(t.library, "_ZN7mallard9interpose11switch_modeENS_4ModeEPPKc")
    done = t.run([program, t.library, hex(offset), str(switches), LAST[last]], env, seconds=90, label=last)
    t.notes += re.findall(r"^note: (.*)$", done.stderr, re.MULTILINE)
    report = load(base.with_name(base.name + ".json"))
    if report is None:
        raise Failure(f"no report: {done.stderr[-300:]!r}")
    return report.data, figures_of(report.data, "known")


@every_backend
@pytest.mark.timeout(240)
def test_mode_switched_under_load(t: Test) -> None:
    """Afterwards the books hold what was allocated since they began: half of 1000 blocks of 100 bytes, the
    others freed, and none of those that were there before. A sample for each byte: no estimates."""
    for last in LAST:
        data, figures = known_figures(t, last, 120, ALLOC_SAMPLE_BYTES="1")
        t.equal(data["recording"]["mode"], last.partition("_")[0], "mode")
        t.equal(data["recording"]["missed_frees"], 0, "missed frees")
        t.equal(figures, (50000, 500, 100000, 1000), f"{last}: {', '.join(FIGURES)}")
        if last != "sample":
            exact = data["recording"]["exact"]
            t.equal((exact["missed_frees"], exact["unbooked"]), (0, 0), "missed frees, unbooked")
            t.check(exact["unknown_frees"] >= 500, f"{exact['unknown_frees']} frees of older blocks, of 500")


def test_mode_where_code_must_not_change(t: Test) -> None:
    """Pages that were writable never become executable, as under systemd's MemoryDenyWriteExecute: the copy
    of the exports comes as a file."""
    refuse_gain, set_mdwe = 1, 65
    source = ("import ctypes, os, sys; libc = ctypes.CDLL(None); "
              f"sys.exit(77) if libc.prctl({set_mdwe}, {refuse_gain}, 0, 0, 0) else os.execv(sys.argv[1], sys.argv[1:])")
    program = build_case(t, "exact_truth.cpp")
    env = t.preload_env(ALLOC_MODE="exact", ALLOC_AT_EXIT="1", ALLOC_REPORT=str(t.dir / "mdwe.%p"))
    argv = ["/usr/bin/env", f"LD_PRELOAD={t.library}", program, "1"]
    done = t.run([t.program("python3"), "-c", source, *argv], env | {"LD_PRELOAD": ""}, expect=None)
    if done.status == 77:
        t.skip("this kernel has no prctl(PR_SET_MDWE)")
    t.equal(done.status, 0, "exit status")
    t.equal(done.stdout.count("ok\n"), 2, "processes that ended well")
    t.check("mallard: error" not in done.stderr, f"stderr: {done.stderr[-300:]!r}")
    modes = [report.data["recording"]["mode"] for path in sorted(t.dir.glob("mdwe.*.json")) if (report := load(path))]
    t.equal(modes, ["exact", "exact"], "modes in the reports of parent and child")


def test_little_address_space(t: Test) -> None:
    """Where there is too little for the exact books, sample mode goes on and the host keeps what there is."""
    script = "ulimit -v 600000; exec grep VmSize /proc/self/status"
    done = t.run(["/bin/sh", "-c", script], t.preload_env(ALLOC_MODE="exact"))
    t.check("exact mode cannot be used" in done.stderr and "ulimit -v" in done.stderr, f"stderr: {done.stderr!r}")
    size = int(done.stdout.split()[1])
    t.check(size < 200_000, f"{size} KiB of address space, of some 120,000 with sample books alone")


# ---- real programs: the same results as without mallard
PROGRAMS = {
    "python3": ["-c", "import json, hashlib, threading\n"
                "def work(): return json.loads(json.dumps([{'k': i, 'v': [i] * 5} for i in range(20000)]))\n"
                "ts = [threading.Thread(target=work) for _ in range(4)]; [t.start() for t in ts]; "
                "[t.join() for t in ts]\nprint(hashlib.sha256(repr(work()).encode()).hexdigest())"],
    "node": ["-e", "const m = new Map(); let x = 1; for (let i = 0; i < 60000; i++) { x = x * 1103515245 % 2147483648; "
             "m.set('k' + x % 5003, Buffer.alloc(64 + x % 900, x % 251)); } const h = "
             "require('crypto').createHash('sha256'); for (const k of [...m.keys()].sort()) h.update(m.get(k)); "
             "console.log(require('zlib').gzipSync(JSON.stringify([...m.keys()].sort())).length, h.digest('hex'))"],
    "sqlite3": [":memory:", "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
                "SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO t SELECT i, hex(i * 7919 % 100003) FROM n; "
                "CREATE INDEX x ON t(b); SELECT count(*), sum(length(b)), group_concat(b) FROM "
                "(SELECT b FROM t ORDER BY b LIMIT 50);"],
    "gcc": ["-x", "c++", "-std=c++20", "-O1", "-S", "-o", "-", "-"],
    "git": ["-c", "core.pager=", "log", "--stat", "--patch", "-n", "40"],
}
CPLUSPLUS = "#include <map>\n#include <string>\nint f(std::map<std::string, int>& m) { return m[\"a\"]++; }\n"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name, backend", [(name, backend) for name in PROGRAMS for backend in
                                           ("system", "mimalloc3" if name == "node" else "jemalloc")],
                         indirect=["backend"])
def test_program(t: Test, name: str) -> None:
    program = t.program(name)
    where = t.tmp / "repository"
    if name == "git" and not where.exists():
        steps = ("git init -q . && for i in $(seq 40); do seq $i 7 3000 > f$((i % 5)); git add . && "
                 "git -c user.name=n -c user.email=e commit -q -m $i --date=2020-01-01T00:00:00Z; done")
        where.mkdir()
        subprocess.run(["bash", "-c", steps], cwd=where, check=True, env=t.plain_env(), capture_output=True)
    def output(env: dict[str, str]) -> str:
        done = subprocess.run([program, *PROGRAMS[name]], env=env, text=True, capture_output=True, timeout=100 * PATIENCE,
                              cwd=where if where.exists() else t.tmp, input=CPLUSPLUS if name == "gcc" else "")
        if done.returncode != 0 or "mallard: error" in done.stderr:
            raise Failure(f"{name}: status {done.returncode}: {done.stderr[-300:]!r}")
        return done.stdout
    plain = output(t.plain_env())
    env = t.preload_env(ALLOC_MODE="exact", ALLOC_AT_EXIT="1")
    t.equal(output(env), plain, f"output of {name}")
    reports = [report for path in sorted(t.dir.glob("report.*.json")) if (report := load(path))]
    t.check(reports, "no report")
    counted = 0
    for data in (report.data for report in reports):
        exact = data["recording"]["exact"]
        t.equal((exact["missed_frees"], exact["unbooked"]), (0, 0), "missed frees, unbooked")
        t.check(data["totals"]["live_bytes"] >= 0, f"live bytes: {data['totals']['live_bytes']}")
        counted += data["totals"]["allocated_count"]
    t.check(len(plain) > 20 and counted > 100, f"{len(plain)} characters of output, {counted} allocations")
    t.notes.append(f"{counted} allocations booked in {len(reports)} processes")
