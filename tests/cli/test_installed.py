# SPDX-License-Identifier: Apache-2.0
"""`meson install`: what lands where, and that it works there, staged, and moved elsewhere."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from support.framework import REPOSITORY

from .harness import Failure, Skip, Test


def prefix_of(build: Path) -> str:
    text = subprocess.run(["meson", "introspect", "--buildoptions", build], capture_output=True, text=True, check=True)
    import json  # noqa: PLC0415
    return next(o["value"] for o in json.loads(text.stdout) if o["name"] == "prefix")


def library_used(t: Test, mallard: Path) -> str:
    """The libmallard.so that a program has under `mallard run`."""
    done = subprocess.run([mallard, "run", "--", "cat", "/proc/self/maps"], capture_output=True, text=True, cwd=t.dir,
                          timeout=60, check=False)
    found = re.findall(r"(/\S*libmallard\S*)", done.stdout)
    if done.returncode != 0 or not found:
        raise Failure(f"mallard run: status {done.returncode}\n{done.stdout}{done.stderr}")
    return found[0]


def test_installation(t: Test) -> None:
    if not shutil.which("meson"):
        raise Skip("there is no meson")
    build = t.mallard.parent
    stage = t.dir / "stage"
    done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild"], capture_output=True, text=True,
                          timeout=300, env={**os.environ, "DESTDIR": str(stage)}, check=False)
    if done.returncode != 0:
        raise Failure(done.stdout + done.stderr)
    prefix = stage / prefix_of(build).lstrip("/")
    files = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file()}
    wanted = ["bin/mallard", "share/man/man1/mallard.1", "share/man/man7/libmallard.7",
              "share/bash-completion/completions/mallard", "share/zsh/site-functions/_mallard",
              "share/doc/mallard/README.md", "share/doc/mallard/LICENSE",
              # README leads to all of them.
              *(f"share/doc/mallard/{p.name}" for p in (REPOSITORY / "docs").glob("*.md"))]
    missing = [w for w in wanted if w not in files]
    library = next((f for f in files if f.endswith("/libmallard.so")), "")
    pkgconfig = next((f for f in files if f.endswith("pkgconfig/mallard.pc")), "")
    if library.replace("libmallard.so", "libmallard-attach.so") not in files:
        missing.append("libmallard-attach.so")
    if missing or not library or not pkgconfig:
        raise Failure(f"not installed: {missing} library {library!r} pkg-config {pkgconfig!r}; there is {sorted(files)}")
    if (used := library_used(t, prefix / "bin/mallard")) != str(prefix / library):
        raise Failure(f"staged: uses {used}, expected {prefix / library}")
    moved = t.dir / "moved"
    prefix.rename(moved)
    if not library_used(t, moved / "bin/mallard").startswith(str(moved)):
        raise Failure("moved: another library is used")
    asked = subprocess.run(["pkg-config", "--variable=preload", "mallard"], capture_output=True, text=True, check=False,
                           env={**os.environ, "PKG_CONFIG_PATH": str((moved / pkgconfig).parent)}).stdout.strip()
    if asked != f"/{Path(prefix_of(build)).relative_to('/')}/{library}":
        raise Failure(f"pkg-config says {asked!r}, the library was to be {library!r} in {prefix_of(build)!r}")
