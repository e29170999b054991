# SPDX-License-Identifier: Apache-2.0
"""scripts/package, scripts/linked-in: the Debian package of this build, what is in it, and that it works unpacked."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.framework import REPOSITORY

from .harness import Failure, Skip, Test
from .test_installed import library_used

WANTED = ["usr/bin/mallard", "usr/share/man/man1/mallard.1.gz", "usr/share/man/man7/libmallard.7.gz",
          "usr/share/bash-completion/completions/mallard", "usr/share/zsh/vendor-completions/_mallard",
          "usr/share/doc/mallard/copyright", "usr/share/doc/mallard/changelog.gz", "usr/share/doc/mallard/CHANGELOG.md",
          "usr/share/doc/mallard/README.md"]


def output_of(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, check=False, cwd=cwd)
    if done.returncode != 0:
        raise Failure(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def test_debian_package(t: Test) -> None:
    for tool in ("dh", "dpkg-buildpackage", "meson"):
        if not shutil.which(tool):
            raise Skip(f"there is no {tool}")
    script = REPOSITORY / "scripts/package"
    package = output_of(script, "--no-install", "--build", t.mallard.parent, "--into", t.dir).splitlines()[-1]
    fields = dict(re.findall(r"^([\w-]+): (.*)$", output_of("dpkg-deb", "--field", package), re.M))
    version = output_of(t.mallard, "--version").split()[1]
    if fields["Package"] != "mallard" or not re.fullmatch(re.escape(version) + r"(~git\d{8}\.\w+)?", fields["Version"]):
        raise Failure(f"expected mallard {version}, found {fields}")
    if not re.search(r"\blibc6 \(>= 2\.\d+\)", fields["Depends"]) or re.search("@[A-Z_]+@", str(fields)):
        raise Failure(f"dependencies or a placeholder: {fields}")
    root = t.dir / "unpacked"
    output_of("dpkg-deb", "--raw-extract", package, root)
    files = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and "DEBIAN" not in p.parts}
    library = next((f for f in files if f.endswith("/libmallard.so")), "")
    attached = library.replace("libmallard.so", "libmallard-attach.so")
    if missing := [w for w in [*WANTED, attached] if w not in files] or not library:
        raise Failure(f"not in the package: {missing}; there is {sorted(files)}")
    output_of("md5sum", "--check", "--strict", "--quiet", "DEBIAN/md5sums", cwd=root)
    summed = {line.split("  ", 1)[1] for line in (root / "DEBIAN/md5sums").read_text().splitlines()}
    if summed != files:
        raise Failure(f"md5sums differ from the files in {summed ^ files}")
    if "prefix=/usr\n" not in (root / library).parent.joinpath("pkgconfig/mallard.pc").read_text():
        raise Failure("mallard.pc does not say prefix=/usr")
    if (used := library_used(t, root / "usr/bin/mallard")) != str(root / library):
        raise Failure(f"unpacked: uses {used}, expected {root / library}")
    if shutil.which("lintian"):
        print(output_of("lintian", "--fail-on", "error,warning", "--allow-root", package), end="")
    else:
        print("lintian is not there: the package was not checked with it")


@pytest.mark.timeout(900)
def test_package_on_a_fresh_system(t: Test) -> None:
    """Nothing but the package and what it depends on: a program is started, reported on and purged there."""
    if os.geteuid() != 0:
        raise Skip("a system of its own needs root")
    for tool in ("dh", "dpkg-buildpackage", "meson", "debootstrap"):
        if not shutil.which(tool):
            raise Skip(f"there is no {tool}")
    done = subprocess.run(["timeout", "--kill-after=30", "300", REPOSITORY / "scripts/matrix", "distro", "--short", "--build",
                           t.mallard.parent, "--into", t.dir / "systems"], capture_output=True, text=True, timeout=400, check=False)
    print(done.stdout, done.stderr)
    if done.returncode == 124:
        raise Skip("no system was made within 5 minutes: the mirror is far away, or the machine busy")
    if done.returncode == 77:
        raise Skip(next((line for line in (done.stdout + done.stderr).splitlines() if "skipped" in line), "no system could be made"))
    if done.returncode != 0 or not re.search(r"^  report of \d+ lines, page of \d+ bytes$", done.stdout, re.M):
        raise Failure(f"status {done.returncode}\n{done.stdout}{done.stderr}")


def test_what_is_linked_in(t: Test) -> None:
    if not shutil.which("dpkg-query"):
        raise Skip("there is no dpkg-query")
    script = REPOSITORY / "scripts/linked-in"
    document = json.loads(output_of(script, "--spdx", "--version", "1.2", t.mallard.parent))
    packages = {p["name"]: p for p in document["packages"]}
    identifiers = {p["SPDXID"] for p in document["packages"]} | {document["SPDXID"]}
    if document["spdxVersion"] != "SPDX-2.3" or packages["mallard"]["versionInfo"] != "1.2":
        raise Failure(f"no SPDX document of mallard 1.2: {document}")
    if lost := [r for r in document["relationships"] if not {r["spdxElementId"], r["relatedSpdxElement"]} <= identifiers]:
        raise Failure(f"relationships to what is not in the document: {lost}")
    if unknown := [p["name"] for p in document["packages"] if p["licenseDeclared"] == "NOASSERTION" or not p["versionInfo"]]:
        raise Failure(f"no licence or version known: {unknown}")
    if "libunwind-dev" not in packages or "npm-d3-hierarchy" not in packages:
        raise Failure(f"libunwind or d3 are not in it: {sorted(packages)}")
    if not re.fullmatch(r"(\S+ \(= \S+\)(, )?)+", output_of(script, "--built-using", t.mallard.parent).strip()):
        raise Failure("Built-Using is not a list of packages with versions")
