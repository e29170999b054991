# SPDX-License-Identifier: Apache-2.0
"""Interfaces of allocators beyond malloc (mallctl, mallocx, mi_*, MallocExtension_*): a program must not believe
that it has one, unless it brought it along; and where it did, ALLOC_BACKEND=next makes its figures true."""
from __future__ import annotations

from support.backends import shared_object
from support.framework import Test
from support.marks import every_backend

from .programs import case

ALL_BACKENDS = ("system", "jemalloc", "mimalloc2", "mimalloc3", "tcmalloc")
TLS = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=8192"}


def believed(t: Test, *words: str, linked: bool = False, **env: str) -> list[str]:
    if linked:
        path = shared_object("libjemalloc.so.2")
        if not path:
            t.skip("libjemalloc.so.2 is not in the loader's cache (package libjemalloc2)")
        program = case(t, "api_visible.c", "-Wno-array-compare", "-ldl", "-Wl,--no-as-needed", path, output="api_linked")
    else:
        program = case(t, "api_visible.c", "-ldl", output="api_visible")
    done = t.run([program, *words], t.preload_env(**env), label="-".join(["api", *words]))
    lines = done.stdout.splitlines()
    t.equal(lines[-1], "ok", "the program's last line")
    return lines[:-1]


@every_backend
def test_none_is_seen(t: Test) -> None:
    """Neither by weak references nor by dlsym, whoever serves: also not of a backend that mallard loaded."""
    t.equal(believed(t), [], "interfaces that the program believes to have")


def test_none_of_a_loaded_jemalloc(t: Test) -> None:
    path = shared_object("libjemalloc.so.2")
    if not path:
        t.skip("libjemalloc.so.2 is not in the loader's cache (package libjemalloc2)")
    t.equal(believed(t, ALLOC_BACKEND=path, **TLS), [], "interfaces that the program believes to have")


def test_what_the_program_linked_is_true_behind_mallard(t: Test) -> None:
    """With ALLOC_BACKEND=next the jemalloc that the program is linked with serves: its figures count malloc."""
    lines = believed(t, "figures", linked=True, ALLOC_BACKEND="next")
    t.check("weak mallctl" in lines and "default mallctl" in lines, f"the program's own jemalloc is hidden: {lines}")
    t.equal([line for line in lines if line.startswith("figures")], ["figures 10"], "MiB that its jemalloc counts")


def test_what_the_program_linked_stays_visible(t: Test) -> None:
    """Another backend cannot take away what the program is linked with; its figures do not move then."""
    lines = believed(t, "figures", linked=True)
    t.check("weak mallctl" in lines, f"the program's own jemalloc is hidden: {lines}")
    t.equal([line for line in lines if line.startswith("figures")], ["figures 0"], "MiB that its jemalloc counts")
