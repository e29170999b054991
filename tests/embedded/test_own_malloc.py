# SPDX-License-Identifier: Apache-2.0
"""An executable that defines the malloc family itself. Its allocator ends the program on a foreign block, so
that a half taken over one cannot go unnoticed."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from support.framework import Finished, Test
from support.marks import backends
from support.reports import ask

from .programs import BACKENDS, case, holding, redirected, require_refused, require_taken, stripped

OWN = "its own malloc"
FLAGS = {
    "pie": ("-rdynamic",),
    "no_pie": ("-rdynamic", "-no-pie"),
    "endbr64": ("-rdynamic", "-fcf-protection=full"),
    "unoptimised": ("-rdynamic", "-O0"),
    "static_libgcc": ("-rdynamic", "-static-libgcc", "-Wl,-z,now", "-Wl,-z,separate-code"),
}


def own_blocks(t: Test, done: Finished) -> int:
    found = re.search(r"own blocks: (\d+)", done.stderr)
    t.check(found, f"the program did not say how many blocks it handed out: {done.stderr[-300:]}")
    assert found
    return int(found[1])


def plain_output(t: Test, program: Path) -> str:
    done = t.run([program], t.plain_env(), label=f"plain-{program.name}")
    t.check(own_blocks(t, done) > 8000, "the program does not use its own allocator without us")
    return done.stdout


def is_served_by_us(t: Test, program: Path) -> None:
    expected = plain_output(t, program)
    done = redirected(t, program, label=f"redirected-{program.name}")
    t.check(require_taken(t, done, OWN) >= 8, f"too few entry points: {done.stderr[-300:]}")
    t.equal(done.stdout, expected, "the program's output")
    t.equal(own_blocks(t, done), 0, "blocks from the program's own allocator")


def test_without_a_backend_the_next_malloc_serves(t: Test) -> None:
    """It is taken over, and answered by the malloc that the program would have without its own."""
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    done = redirected(t, program, label="next", ALLOC_BACKEND="", ALLOC_AT_EXIT="1")
    require_taken(t, done, OWN)
    t.equal(own_blocks(t, done), 0, "blocks from the program's own allocator")
    report = json.loads(next(t.dir.glob("*.json")).read_text())
    backend = report["backend"]
    t.equal((backend["name"], backend["requested"], backend["served"]), ("system", "next", True), "who serves")
    text = next(t.dir.glob("report*.txt")).read_text()
    t.check("the program came with it" not in text, "the program did not come with what serves")


@backends(*BACKENDS)
def test_every_block_is_ours(t: Test) -> None:
    is_served_by_us(t, case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie"))


def test_however_it_was_built(t: Test) -> None:
    for name, flags in FLAGS.items():
        is_served_by_us(t, case(t, "own_allocator.c", *flags, output=f"own_{name}"))


def test_clang(t: Test) -> None:
    if not shutil.which("clang"):
        t.skip("clang is not installed")
    source = Path(__file__).resolve().parent / "cases" / "own_allocator.c"
    program = t.tmp / "own_clang"
    done = subprocess.run(["clang", "-O2", "-D_GNU_SOURCE", "-fno-builtin", "-pthread", "-rdynamic", "-o", program, source],
                          capture_output=True, text=True, check=False)
    t.check(done.returncode == 0, f"clang: {done.stderr[:400]}")
    is_served_by_us(t, program)


def test_exported_names_suffice(t: Test) -> None:
    is_served_by_us(t, stripped(t, case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")))


def test_the_report_has_its_call_sites(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    with holding(t, program, "hold", ALLOC_EMBEDDED="redirect", ALLOC_SAMPLE_BYTES="16K") as pid:
        report, _ = ask(pid, t.dir)
    backend = report.data["backend"]
    t.check(backend["served"], f"backend: {backend}")
    t.equal(backend["takeover"]["state"], "taken over", "backend.takeover.state")
    t.equal([(a["name"], a["status"], a["calls"]) for a in report.data["embedded_allocators"]],
            [("a malloc of its own", "redirected", 0)], "embedded_allocators")
    t.check("taken over              its own malloc" in report.text, "the text does not say what is taken over")
    site = max(report.data["sites"], key=lambda s: s["live_bytes"])
    t.equal(site["stack"][0]["function"], "main", "the call site with the most live memory")
    t.check(abs(site["live_bytes"] / 8e6 - 1) < 0.2, f"8 MB are live there, not {site['live_bytes']}")


def test_not_without_being_asked(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    done = t.run([program], t.preload_env(ALLOC_VERBOSE="1"))
    t.check("bypassed" in done.stderr and "taken over" not in done.stderr, f"stderr: {done.stderr[-300:]}")
    t.check(own_blocks(t, done) > 8000, "its own allocator was not used")


def test_used_before_us(t: Test) -> None:
    """An IFUNC resolver of the program allocates while the loader still relocates."""
    program = case(t, "own_allocator.c", "-rdynamic", "-DEARLY_USER", "-Wl,-z,now", output="own_early")
    expected = plain_output(t, program)
    done = redirected(t, program)
    require_refused(t, done, "used already")
    t.equal(done.stdout, expected, "the program's output")
    t.check(own_blocks(t, done) > 8000, "its own allocator was not used")
    strict = redirected(t, program, expect=78, label="strict", ALLOC_STRICT="1")
    t.check("not started" in strict.stderr, f"stderr: {strict.stderr[-300:]}")


def goes_on_by_itself(t: Test, output: str, flags: tuple[str, ...], why: str) -> None:
    program = case(t, "own_allocator.c", "-rdynamic", *flags, output=output)
    expected = plain_output(t, program)
    done = redirected(t, program)
    require_refused(t, done, why)
    t.equal(done.stdout, expected, "the program's output")
    t.check(own_blocks(t, done) > 8000, "its own allocator was not used")


def test_a_thread_before_us(t: Test) -> None:
    goes_on_by_itself(t, "own_thread", ("-DEARLY_THREAD", "-Wl,-z,now"), "a thread runs already")


def test_code_changed_before_us(t: Test) -> None:
    goes_on_by_itself(t, "own_changed", ("-DEARLY_CHANGE", "-fpatchable-function-entry=8", "-Wl,-z,now"),
                      "code in memory differs from its file")
    # The counter-proof: the nops alone are no obstacle.
    is_served_by_us(t, case(t, "own_allocator.c", "-rdynamic", "-fpatchable-function-entry=8", output="own_nops"))


def test_no_address_space_nearby(t: Test) -> None:
    goes_on_by_itself(t, "own_full", ("-DEARLY_FULL", "-Wl,-z,now"), "no free memory within 1 GiB")


def test_an_entry_is_chosen_at_load_time(t: Test) -> None:
    goes_on_by_itself(t, "own_ifunc", ("-DIFUNC",), "memalign is chosen at load time")


def test_an_entry_is_too_short(t: Test) -> None:
    goes_on_by_itself(t, "own_short", ("-DSHORT",), "free is too short for a jump|begins within the first bytes")


def test_an_entry_is_missing(t: Test) -> None:
    program = case(t, "own_allocator.c", "-rdynamic", "-DNO_FREE", output="own_no_free")
    done = redirected(t, program)
    require_refused(t, done, "malloc without free")


def test_copies_of_it_elsewhere(t: Test) -> None:
    """The compiler has put malloc's code into the functions that call it."""
    program = case(t, "own_allocator.c", "-rdynamic", "-DINLINED", "-O2", output="own_inlined")
    expected = plain_output(t, program)
    done = redirected(t, program)
    require_refused(t, done, "(work|main) calls take, which only the allocator itself may")
    t.equal(done.stdout, expected, "the program's output")


def test_code_may_not_change(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    done = t.run([case(t, "without_new_code.c"), program],
                 t.preload_env(ALLOC_EMBEDDED="redirect", ALLOC_VERBOSE="1"), expect=None)
    if done.status == 77:
        t.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    t.equal(done.status, 0, "exit status")
    require_refused(t, done, "does not let (its )?code be")
    t.equal(done.stdout, plain_output(t, program), "the program's output")
    t.check(own_blocks(t, done) > 8000, "its own allocator was not used")


def test_another_preload_in_front(t: Test) -> None:
    front = t.tmp / "front.so"
    source = t.tmp / "front.c"
    source.write_text("#include <stddef.h>\nvoid* __libc_malloc(size_t); void* malloc(size_t n) { return __libc_malloc(n); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-fno-builtin", "-o", front, source], check=True)
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    done = redirected(t, program, LD_PRELOAD=f"{front}:{t.library}")
    # The executable comes before every preload: its malloc is still the one that counts.
    require_taken(t, done, OWN)
    t.equal(own_blocks(t, done), 0, "blocks from the program's own allocator")


def test_mallard_run_warns_only_if_it_is_not_taken_over(t: Test) -> None:
    program = case(t, "own_allocator.c", *FLAGS["pie"], output="own_pie")
    command = [t.build / "mallard", "run"]
    done = t.run([*command, "--", program], t.plain_env(ALLOC_REPORT=str(t.dir / "r.%n")), label="run")
    t.check("ALLOC_EMBEDDED=redirect takes over its own malloc" in done.stderr, f"no hint: {done.stderr[-400:]}")
    done = t.run([*command, "--embedded", "redirect", "--", program], t.plain_env(), label="run-redirect")
    t.check("warning" not in done.stderr, f"stderr: {done.stderr[-400:]}")
    t.equal(own_blocks(t, done), 0, "blocks from the program's own allocator")
