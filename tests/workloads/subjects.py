# SPDX-License-Identifier: Apache-2.0
"""Allocator versions as subjects of a measurement: where each comes from and how it is got, into a cache folder."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.framework import locked


class Unavailable(Exception):
    """Why a subject cannot be had here."""


@dataclass(frozen=True)
class Subject:
    """One version of an allocator, built one way.

    `get` makes the shared object in a folder of the subject's own and returns its path; it raises Unavailable where
    the machine lacks a tool or the network. `units` tells known_heap which memory goes back as a whole
    (live_heap.hpp): variables for the path of the object. `variables` are the allocator's own.
    """
    allocator: str    # as a report names it: "mimalloc"
    version: str      # as a report says it, and what tells builds of one version apart: "2.2.4", "2.2.4 secure"
    source: str       # for the table: "crate libmimalloc-sys 0.1.44"
    get: Callable[[Path], Path]
    units: Callable[[Path], Mapping[str, str]] = lambda path: {}
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.allocator} {self.version}"

    def path(self, cache: Path) -> Path | None:
        """Where an earlier run has put it; None if none has."""
        try:
            made = Path((self._folder(cache) / "path").read_text())
        except OSError:
            return None
        return made if made.exists() else None

    def bring(self, cache: Path) -> Path:
        """The shared object, from the cache or made now."""
        folder = self._folder(cache)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            if (made := self.path(cache)) is not None:
                return made
            made = self.get(folder).resolve()
            (folder / "path").write_text(str(made))
            return made

    def _folder(self, cache: Path) -> Path:
        return cache / self.name.replace(" ", "-")


def run(command: Sequence[str | Path], folder: Path, seconds: float = 300) -> str:
    """Output of a tool; Unavailable with its last words if it fails or is not here."""
    tool = shutil.which(str(command[0]))
    if tool is None:
        raise Unavailable(f"{command[0]} is not installed")
    try:
        done = subprocess.run([tool, *map(str, command[1:])], cwd=folder, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=seconds,
                              env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{Path(tool).name} did not end within {seconds:g} s") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Unavailable(f"{Path(tool).name}: {words[-1]}")
    return done.stdout


# ---- sources and objects that registries have
def crate(name: str, version: str, folder: Path) -> Path:
    """The unpacked sources of a crate."""
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "lib.rs").touch()
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "get"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{name} = "={version}"\n'
        "[workspace]\n")
    told = json.loads(run(["cargo", "metadata", "--format-version", "1", "--quiet"], folder))
    for package in told["packages"]:
        if package["name"] == name and package["version"] == version:
            return Path(package["manifest_path"]).parent
    raise Unavailable(f"cargo brought no {name} {version}")


def debian_package(package: str, folder: Path, release: str = "") -> Path:
    """The unpacked package of a release, or of the one that apt is configured with.

    apt works on a state of its own for another release; its signatures decide what is trusted.
    """
    options: list[str] = []
    if release:
        mirrors = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], folder).split()
        if not mirrors:
            raise Unavailable("apt has no mirror of Debian")
        mirror = next((m for m in mirrors if m.rstrip("/").endswith("/debian")), mirrors[0])
        state = folder / "apt"
        for made in ("lists/partial", "cache/archives/partial"):
            (state / made).mkdir(parents=True, exist_ok=True)
        keys = the_one(Path("/usr/share/keyrings"), "debian-archive-keyring.*")
        (state / "sources.list").write_text(f"deb [signed-by={keys}] {mirror} {release} main\n")
        for name, value in {"Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "/nonexistent",
                            "Dir::State::lists": state / "lists", "Dir::Cache": state / "cache",
                            "Acquire::Languages": "none", "APT::Sandbox::User": "root"}.items():
            options += ["-o", f"{name}={value}"]
        run(["apt-get", "-q", *options, "update"], folder)
        package_of_release = f"{package}/{release}"
    else:
        package_of_release = package
    run(["apt-get", "-q", *options, "download", package_of_release], folder)
    made = folder / "unpacked"
    for archive in folder.glob(f"{package}_*.deb"):
        run(["dpkg-deb", "-x", archive, made], folder)
    return made


def loadable(path: Path) -> Path:
    """The same; Unavailable if this system's C library is too old for it."""
    done = subprocess.run(["/bin/true"], capture_output=True, text=True, env={"LD_PRELOAD": str(path), "LD_BIND_NOW": "1"})
    complaint = re.search(r"version `(\S+)' not found", done.stderr)
    if complaint:
        raise Unavailable(f"it needs {complaint.group(1)}")
    return path


def wheel(package: str, version: str, folder: Path) -> Path:
    """The unpacked wheel of a Python package."""
    run(["python3", "-m", "pip", "-q", "download", "--no-deps", "--only-binary=:all:", "-d", folder,
         f"{package}=={version}"], folder)
    made = folder / "unpacked"
    for archive in folder.glob("*.whl"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(made)
    return made


def the_one(folder: Path, pattern: str) -> Path:
    """The longest name that matches: links to a shared object have shorter ones."""
    found = sorted((p for p in folder.rglob(pattern) if p.is_file()), key=lambda p: len(p.name))
    if not found:
        raise Unavailable(f"no {pattern} in {folder.name}")
    return found[-1]
