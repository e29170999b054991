# SPDX-License-Identifier: Apache-2.0
"""Compiles tests/e2e/cases/* (or a source given by its full path) into build/e2e/bin/FOLDER, once per change."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .framework import CASES_DIR, Failure, Test, locked

COMMON = ["-g", "-O1", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-use-after-free", "-fno-builtin",
          "-fno-omit-frame-pointer", "-pthread"]


def build_case(t: Test, source: str, *flags: str, output: str = "", shared: bool = False,
               links: tuple[Path, ...] = ()) -> Path:
    """The program (or shared object) made of `source`; skips without a compiler."""
    path = CASES_DIR / source
    compiler = "g++" if path.suffix == ".cpp" else "gcc"
    if not shutil.which(compiler):
        t.skip(f"{compiler} is not installed")
    folder = t.build / "e2e" / "bin" / path.parent.name  # sources of two folders may have one name
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (output or path.stem + (".so" if shared else ""))
    with locked(folder / f".{target.name}.lock"):
        headers = list(path.parent.glob("*.h*"))
        newest = max(file.stat().st_mtime for file in [path, *headers, *links, Path(__file__)])
        if not target.exists() or target.stat().st_mtime < newest:
            standard = "-std=c++20" if compiler == "g++" else "-std=gnu11"
            kind = ["-shared", "-fPIC", f"-Wl,-soname,{target.name}"] if shared else []
            made = folder / f"{target.name}.{os.getpid()}.tmp"
            command = [compiler, standard, *COMMON, *kind, "-o", str(made), str(path),
                       *map(str, links), f"-Wl,-rpath,{folder}", *flags]
            done = subprocess.run(command, capture_output=True, text=True, env=t.plain_env())
            if done.returncode != 0:
                raise Failure(f"{source} does not compile: {done.stderr.strip()[:600]}")
            os.replace(made, target)
    return target
