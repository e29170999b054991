# SPDX-License-Identifier: Apache-2.0
"""Building the programs, and running one with its allocator taken over."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.compiler import build_case
from support.framework import Finished, Test, locked, wait_until

SOURCES = Path(__file__).resolve().parent
RUST = SOURCES / "rust"
# Each is a build by cargo of its own; those that differ from another in one of two things only are extra.
VARIANTS = ("mimalloc2_override", "mimalloc3", "jemalloc", "jemalloc_unprefixed")
EXTRA_VARIANTS = ("mimalloc2", "mimalloc3_override")
OVERRIDES = ("override", "unprefixed")  # the end of those that define malloc
JEMALLOC_PIC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc_pic.a")
BACKENDS = ("system", "jemalloc", "mimalloc2", "mimalloc3")
TAKEN = re.compile(r"^mallard: (.*) inside the executable is taken over: (\d+) entry points$", re.M)
REFUSED = re.compile(r"^mallard: error: (.*) is not (?:taken over|examined): (.*); it goes on by itself", re.M)


def case(t: Test, name: str, *flags: str, output: str = "", links: tuple[Path, ...] = ()) -> Path:
    return build_case(t, str(SOURCES / "cases" / name), *flags, output=output, links=links)


def whose(variant: str) -> str:
    """What a Rust program carries."""
    name = "jemalloc" if variant.startswith("jemalloc") else "mimalloc"
    return f"{name} and its own malloc" if variant.endswith(OVERRIDES) else name


@contextmanager
def holding(t: Test, *command: str | Path, label: str = "", **env: str) -> Iterator[int]:
    """A program that holds its blocks meanwhile, and then comes to its end. Its id."""
    process = t.start([*command], t.preload_env(**env), label=label, stdin=subprocess.PIPE)
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 30, "the program to be ready")
    yield process.pid
    process.communicate(b"go\n")
    t.finish(process)


def stripped(t: Test, program: Path) -> Path:
    target = t.tmp / f"{program.name}.stripped"
    subprocess.run(["strip", "-o", target, program], check=True)
    return target


def cargo_folder(t: Test) -> Path:
    folder = t.build / "e2e" / "cargo"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def rust_program(t: Test, variant: str) -> Path:
    """The Rust program with the allocator of that feature; skips, saying why, where cargo cannot build it."""
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if not cargo:
        t.skip("cargo is not installed")
    folder = cargo_folder(t)
    target, failure = folder / f"embedding.{variant}", folder / f"embedding.{variant}.failed"
    newest = max(path.stat().st_mtime for path in [RUST / "Cargo.toml", *(RUST / "src").glob("*.rs")])
    with locked(folder / ".lock"):  # cargo's own lock would do, but not for the copies
        if not target.exists() or target.stat().st_mtime < newest:
            project = folder / "project"  # a lock file is made beside Cargo.toml
            shutil.copytree(RUST, project, dirs_exist_ok=True)
            command = [cargo, "build", "--quiet", "--manifest-path", project / "Cargo.toml", "--features", variant,
                       "--target-dir", folder / "target"]
            # The test's own HOME is a scratch place, cargo's is where its settings are.
            env = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "ALLOC_", "MALLOC_"))}
            if variant == "jemalloc_unprefixed" and JEMALLOC_PIC.exists():  # its configure and make take a minute
                env["JEMALLOC_OVERRIDE"] = str(JEMALLOC_PIC)
            try:
                done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600, check=False)
                why = done.stderr.strip()
                failed = done.returncode != 0
            except subprocess.TimeoutExpired:
                failed, why = True, "it took more than 10 minutes"
            if failed:
                failure.write_text(why)
                t.check(not re.search(r"error(\[E\d+\])?: .*\n *--> src/", why), f"the program does not compile: {why[:600]}")
                t.skip(f"cargo cannot build it here: {why.splitlines()[-1] if why else 'no reason given'}")
            made = target.with_suffix(".tmp")
            shutil.copy2(folder / "target" / "debug" / "embedding", made)
            made.touch()
            os.replace(made, target)
    return target


def mimalloc_archive(t: Test) -> Path:
    """mimalloc 3 without override, as cargo has built it."""
    rust_program(t, "mimalloc3")
    found = sorted((cargo_folder(t) / "target" / "debug" / "build").glob("libmimalloc-sys-*/out/libmimalloc.a"))
    for path in found:
        names = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        if " mi_theap_malloc" in names and " T malloc\n" not in names:
            return path
    t.skip("cargo has left no archive of mimalloc 3")


def mimalloc_source(t: Test) -> Path:
    """The one file that mimalloc 3 can be compiled from, as cargo has fetched it."""
    rust_program(t, "mimalloc3")
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    found = sorted((home / "registry" / "src").glob("*/libmimalloc-sys-*/c_src/mimalloc/v3/src/static.c"))
    if not found:
        t.skip("cargo keeps no source of mimalloc 3")
    return found[-1]


def predicted(t: Test, program: Path, what: str = "redirectable") -> str:
    """What `mallard check` foretells: "redirectable", "not_redirectable: why", or nothing; or the same of "observable"."""
    done = subprocess.run([t.build / "mallard", "check", "--json", program], capture_output=True, text=True, check=False)
    t.check(done.returncode in (0, 1), f"mallard check: status {done.returncode}, {done.stderr[-300:]}")
    for finding in json.loads(done.stdout)["objects"][0]["findings"]:
        if finding["id"] == what:
            return what
        if finding["id"] == f"not_{what}":
            return f"not_{what}: {finding['text']}"
    return ""


def require_predicted(t: Test, program: Path, done: Finished) -> None:
    """The command reads the file alone, and must come to what the library did, unless it is up to the process."""
    foretold = predicted(t, program)
    refused = REFUSED.search(done.stderr)
    if TAKEN.search(done.stderr) or (refused and re.search("used already|code be (changed|made)|a thread runs|differs from its file|no free memory", refused[2])):
        t.equal(foretold, "redirectable", f"mallard check of {program.name}")
    elif refused:
        t.check(foretold.startswith("not_redirectable") and refused[2] in foretold,
                f"mallard check foretells '{foretold}', the library says '{refused[2]}'")
    else:
        t.equal(foretold, "", f"mallard check of {program.name}")


def redirected(t: Test, program: Path, *words: str, expect: int | None = 0, label: str = "", **env: str) -> Finished:
    done = t.run([program, *words], t.preload_env(**{"ALLOC_EMBEDDED": "redirect", "ALLOC_VERBOSE": "1"} | env),
                 expect=expect, label=label)
    require_predicted(t, program, done)
    return done


def require_said(t: Test, done: Finished, said: re.Pattern[str], what: str) -> int:
    """\return of how many entry points stderr says so"""
    found = said.search(done.stderr)
    t.check(found, f"stderr does not say that anything is taken over or observed: {done.stderr[-500:]}")
    assert found
    t.equal(found[1], what, "the allocator that is taken over or observed")
    return int(found[2])


def require_taken(t: Test, done: Finished, what: str) -> int:
    """\return how many entry points were taken over"""
    return require_said(t, done, TAKEN, what)


def require_refused(t: Test, done: Finished, why: str, refused: re.Pattern[str] = REFUSED, done_said: re.Pattern[str] = TAKEN) -> None:
    found = refused.search(done.stderr)
    t.check(found, f"stderr does not say that anything is refused: {done.stderr[-500:]}")
    t.check(not done_said.search(done.stderr), f"done and refused: {done.stderr[-500:]}")
    assert found
    t.check(re.search(why, found[2]), f"the reason '{found[2]}' does not match '{why}'")
