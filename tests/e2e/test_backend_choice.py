# SPDX-License-Identifier: Apache-2.0
"""Backends that cannot be used, ALLOC_STRICT, ALLOC_BACKEND=next, and what the report says then."""
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from support.backends import Backend, matrix, shared_object
from support.compiler import build_case
from support.framework import Test
from support.idle import finish_idle, mallard_lines, start_idle
from support.marks import every_backend
from support.report_check import Expected, check_report
from support.reports import ask

REFUSED = 78


def falls_back(t: Test, value: str, reason: str, hint: str = "") -> None:
    """One clear line, the process runs on system, the report says so; under ALLOC_STRICT=1 it does not start."""
    label = re.sub(r"\W+", "-", value).strip("-")[-30:] or "empty"
    process = start_idle(t, t.preload_env(ALLOC_BACKEND=value), label=label)
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    errors = [line for line in mallard_lines(done.stderr) if "error" in line]
    t.equal(len(errors), 1, f"{value}: number of error lines ({errors})")
    t.check(value in errors[0] and re.search(reason, errors[0], re.IGNORECASE) and "system" in errors[0],
            f"{value}: the line does not say what, why ({reason}) and what happens: {errors[0]}")
    t.check(not hint or hint in done.stderr, f"{value}: no hint with '{hint}': {done.stderr[-400:]}")
    t.check("hint" in done.stderr, f"{value}: the line does not say what to do: {done.stderr[-400:]}")
    system = replace(t.backend, value=value)
    check_report(report.data, report.text, Expected(pid=process.pid, backend=system, min_sites=1))

    strict = t.run([build_case(t, "idle.c")], t.preload_env(ALLOC_BACKEND=value, ALLOC_STRICT="1"),
                   expect=REFUSED, label=label + "-strict")
    t.equal(strict.stdout, "", f"{value}: the program's output under ALLOC_STRICT=1")
    t.check(mallard_lines(strict.stderr), f"{value}: ALLOC_STRICT=1 says nothing")


def test_nonexistent_path(t: Test) -> None:
    falls_back(t, "/nonexistent/libmalloc.so", "no such file")


def test_shared_object_without_malloc(t: Test) -> None:
    falls_back(t, str(build_case(t, "sig_early_library.c", shared=True)), "does not define malloc")


def test_not_an_elf_file(t: Test) -> None:
    for name, content in (("text.so", b"#!/bin/sh\necho no library\n"), ("empty.so", b""),
                          ("cut.so", b"\x7fELF\x02\x01\x01"), ("bad.so", b"\x7fELF\x02\x01\x01" + b"\xff" * 500)):
        (t.tmp / name).write_bytes(content)
        falls_back(t, str(t.tmp / name), "ELF|shared object")


def test_a_directory(t: Test) -> None:
    falls_back(t, str(t.tmp), "not a regular file")


def test_unknown_name(t: Test) -> None:
    for name in ("jmalloc", "mimalloc9", "JEMALLOC2"):
        falls_back(t, name, "unknown", hint="jemalloc")


def test_jemalloc_by_path_needs_static_tls(t: Test) -> None:
    path = shared_object("libjemalloc.so.2")
    if not path:
        t.skip("libjemalloc.so.2 is not in the loader's cache (package libjemalloc2)")
    if "static TLS" in t.run(["/bin/true"], t.preload_env(ALLOC_BACKEND=path), label="true").stderr:
        falls_back(t, path, "static TLS", hint="GLIBC_TUNABLES=glibc.rtld.optional_static_tls=")
    else:
        t.notes.append("this jemalloc needs no more static TLS than there is")
    env = t.preload_env(ALLOC_BACKEND=path, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=4096")
    process = start_idle(t, env, label="with-tunable")
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.check("error" not in done.stderr, f"the hint does not help: {done.stderr[-300:]}")
    check_report(report.data, report.text, Expected(
        pid=process.pid, backend=Backend("jemalloc", path, "^jemalloc$", ""), min_sites=1))


def test_strict_refuses_bad_options(t: Test) -> None:
    program = build_case(t, "idle.c")
    for name, value in (("ALLOC_SAMPLE_BYTES", "many"), ("ALLOC_SIGNAL", "SIGNOTHING")):
        done = t.run([program], t.preload_env(ALLOC_STRICT="1", **{name: value}), expect=REFUSED)
        t.check(name in done.stderr and value in done.stderr, f"{name}={value}: {done.stderr[-300:]}")


def test_bad_sample_bytes_keep_the_default(t: Test) -> None:
    for value in ("many", "-5", "0", "12Q", ""):
        process = start_idle(t, t.preload_env(ALLOC_SAMPLE_BYTES=value), label=f"value-{value}")
        report, _ = ask(process.pid, t.dir)
        done = finish_idle(t, process)
        t.equal(report.data["recording"]["sample_bytes"], 524288, f"sample_bytes for '{value}'")
        t.check(not value or "ALLOC_SAMPLE_BYTES" in done.stderr, f"'{value}' gives no line: {done.stderr[-200:]}")


def test_sample_bytes_with_units(t: Test) -> None:
    for value, expected in (("65536", 65536), ("64K", 65536), ("1M", 2**20), ("1", 1)):
        process = start_idle(t, t.preload_env(ALLOC_SAMPLE_BYTES=value), label=f"value-{value}")
        report, _ = ask(process.pid, t.dir)
        done = finish_idle(t, process)
        t.equal(report.data["recording"]["sample_bytes"], expected, f"sample_bytes for '{value}'")
        t.equal([line for line in mallard_lines(done.stderr) if "error" in line], [], "error lines")


@every_backend
def test_verbose_says_who_serves(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_VERBOSE="1"))
    done = finish_idle(t, process)
    lines = [line for line in mallard_lines(done.stderr) if "serves" in line]
    t.equal(len(lines), 1, "number of lines about the allocator")
    t.check(re.search(t.backend.served.strip("^$"), lines[0]) and re.search(t.backend.version, lines[0]),
            f"'{lines[0]}' does not name the backend")


def test_silent_unless_asked(t: Test) -> None:
    done = finish_idle(t, start_idle(t, t.preload_env()))
    t.equal(done.stderr, "", "stderr of a plain run")


def test_next_serves_another_preload(t: Test) -> None:
    """libmallard.so first, another malloc behind it; and with nothing behind it, libc's."""
    tcmalloc = next(backend for backend in matrix(t.build) if backend.name == "tcmalloc")
    if tcmalloc.missing:
        t.skip(tcmalloc.missing)
    env = t.preload_env(ALLOC_BACKEND="next", LD_PRELOAD=f"{t.library}:{tcmalloc.value}")
    process = start_idle(t, env, label="tcmalloc-behind")
    report, rss = ask(process.pid, t.dir)
    finish_idle(t, process)
    check_report(report.data, report.text, Expected(
        pid=process.pid, backend=replace(tcmalloc, value="next"), rss_span=rss, min_sites=1))
    process = start_idle(t, t.preload_env(ALLOC_BACKEND="next"), label="nothing-behind")
    report, rss = ask(process.pid, t.dir)
    finish_idle(t, process)
    check_report(report.data, report.text, Expected(
        pid=process.pid, backend=replace(t.backend, value="next"), rss_span=rss, min_sites=1))


def test_another_preload_in_front_is_named(t: Test) -> None:
    path = shared_object("libtcmalloc_minimal.so.4")
    if not path:
        t.skip("libtcmalloc_minimal.so.4 is not in the loader's cache (package libtcmalloc-minimal4)")
    process = start_idle(t, t.preload_env(LD_PRELOAD=f"{path}:{t.library}", ALLOC_VERBOSE="1"))
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.check("bypassed" in done.stderr and Path(path).name in done.stderr, f"stderr: {done.stderr[-300:]}")
    check_report(report.data, report.text, Expected(pid=process.pid, served=False))
    t.check(Path(path).name in str(report.data["backend"]["bypassed_by"]),
            f"bypassed_by is {report.data['backend']['bypassed_by']}")
    t.check("bypass" in report.text.lower(), "the text report does not say that calls are bypassed")


def test_case_own_malloc_in_the_executable(t: Test) -> None:
    process = start_idle(t, t.preload_env(ALLOC_VERBOSE="1"), program=build_case(t, "own_malloc.c", "-rdynamic"))
    report, _ = ask(process.pid, t.dir)
    done = finish_idle(t, process)
    t.check("bypassed" in done.stderr, f"stderr does not say that calls are bypassed: {done.stderr[-300:]}")
    check_report(report.data, report.text, Expected(pid=process.pid, served=False))
    t.check("bypass" in report.text.lower(), "the text report does not say that calls are bypassed")


def test_jemallocs_own_profiler_has_stacks(t: Test) -> None:
    """MALLOC_CONF=prof:true of the built-in jemalloc: the stacks in its dump are those of our unwinder."""
    process = start_idle(t, t.preload_env(ALLOC_BACKEND="jemalloc", MALLOC_CONF=f"prof:true,lg_prof_sample:0,prof_final:true,"
                                                                                f"prof_prefix:{t.tmp}/dump"))
    done = finish_idle(t, process)
    if "was built without it" in done.stderr:
        t.skip("this build has no jemalloc")
    dump = "".join(path.read_text() for path in t.tmp.glob("dump.*.heap"))
    depths = [len(line.split()) - 1 for line in dump.splitlines() if line.startswith("@")]
    t.check(depths and max(depths) > 4, f"expected stacks that lead to the program, found {depths}: {done.stderr[-400:]}")
