# SPDX-License-Identifier: Apache-2.0
"""Every block of commands in the documents and manual pages, pasted into one shell in their order.

A block that cannot be run here has a comment in front of it with the reason: <!-- not run: REASON -->, in a manual page
.\\" not run: REASON. Those are listed by -v.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.framework import REPOSITORY
from support.marks import group

from .harness import Failure, Skip, Test
from .test_golden_outputs import DATA

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "docs/man").iterdir()])
NOT_RUN = re.compile(r'^(?:<!-- not run: (.+) -->|\.\\" not run: (.+))$')


@dataclass
class Block:
    line: int
    text: str
    not_run: str = ""


def blocks_of_markdown(text: str) -> list[Block]:
    """Fenced ones, and those that are indented by four behind an empty line and belong to no list."""
    lines, found, at, reason, in_list = text.splitlines() + [""], [], 0, "", False
    while at < len(lines):
        line = lines[at]
        begins = line.startswith("    ") and lines[at - 1] == "" and not in_list
        fenced = line.startswith("```")
        if not (begins or fenced):
            in_list = re.match(r"([-*]|\d+\.) ", line) is not None or in_list and (not line or line[0] == " ")
            told = NOT_RUN.match(line)
            reason = told[1] if told else reason if not line else ""
            at += 1
            continue
        end = at + 1
        while end < len(lines) and (not lines[end].startswith("```") if fenced else lines[end][:4] in ("    ", "")):
            end += 1
        body = lines[at + 1:end] if fenced else [each[4:] for each in lines[at:end]]
        found.append(Block(at + 1, "\n".join(body).rstrip(), reason))
        reason, at = "", end + fenced
    return found


def blocks_of_manual(text: str) -> list[Block]:
    found = []
    for block in re.finditer(r"((?:^\.\\\".*\n)?)^\.Bd -literal.*\n((?:.*\n)*?)^\.Ed$", text, re.M):
        told = NOT_RUN.match(block[1].strip())
        found.append(Block(text.count("\n", 0, block.start(2)) + 1, block[2].replace(r"\e", "\\").rstrip(),
                           told[2] if told else ""))
    return found


def blocks_of(path: Path) -> list[Block]:
    return (blocks_of_markdown if path.suffix == ".md" else blocks_of_manual)(path.read_text())


def test_blocks_are_found() -> None:
    text = "a\n\n    one\n\n    two\nb\n\n- item\n\n    of the item\n\nc\n\n<!-- not run: no -->\n\n    three\n\n```sh\nfour\n```\n"
    assert [(b.text, b.not_run) for b in blocks_of_markdown(text)] == [("one\n\ntwo", ""), ("three", "no"), ("four", "")]
    text = '.Bd -literal\none \\e\ntwo\n.Ed\nx\n.\\" not run: no\n.Bd -literal -offset indent\nthree\n.Ed\n'
    assert [(b.text, b.not_run) for b in blocks_of_manual(text)] == [("one \\\ntwo", ""), ("three", "no")]
    assert sum(len(blocks_of(path)) for path in DOCUMENTS) > 15, "the documents' blocks are not found"


def scratch(t: Test) -> dict[str, str]:
    """What the documents take for granted: the command in PATH, two reports, a program."""
    for name in ("before.json", "after.json"):
        shutil.copy(DATA / name, t.dir / name)
    t.compile("program")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ALLOC_", "LD_PRELOAD"))}
    return {**env, "PATH": f"{t.mallard.parent}:{env['PATH']}", "PKG_CONFIG_PATH": str(installed_pkgconfig(t))}


def installed_pkgconfig(t: Test) -> Path:
    """What `meson install` would put there, but that the library is the one of the build."""
    text = (t.mallard.parent / "meson-private/mallard.pc").read_text()
    directory = t.dir / "pkgconfig"
    directory.mkdir()
    (directory / "mallard.pc").write_text(re.sub(r"^libdir=.*$", f"libdir={t.mallard.parent}", text, flags=re.M))
    return directory


def where_to_run(t: Test, path: Path) -> Path:
    """Who changes mallard is in its sources, with a build/ there; who uses it is anywhere."""
    if path.name != "CONTRIBUTING.md":
        return t.dir
    if t.mallard.parent != REPOSITORY / "build":
        raise Skip("its commands are for build/, which is not the build that is tested")
    return REPOSITORY


def by_itself(env: dict[str, str]) -> list[str]:
    """A process namespace, where it may be had: no other process of a name is found in there."""
    command = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--kill-child",
               "--mount-proc"]
    try:
        done = subprocess.run([*command, "true"], env=env, capture_output=True, check=False)
    except OSError:
        return []
    return command if done.returncode == 0 else []


@group("documents")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in DOCUMENTS if blocks_of(path)])
def test_blocks_run_as_pasted(t: Test, path: Path, request: pytest.FixtureRequest) -> None:
    blocks = blocks_of(path)
    for block in blocks:
        if block.not_run:
            request.node.user_properties.append(("note", f"line {block.line} is not run: {block.not_run}"))
    to_run = [block for block in blocks if not block.not_run]
    if not to_run:
        raise Skip(f"no block of {path.name} can be run: " + "; ".join(sorted({b.not_run for b in blocks})))
    for tool in ("redis-server", "pkg-config", "meson"):
        if any(tool in block.text for block in to_run) and not shutil.which(tool):
            raise Skip(f"there is no {tool}")
    script = "".join(f"echo '@@ line {block.line}'\n{block.text}\n" for block in to_run)
    env, directory = scratch(t), where_to_run(t, path)
    out, err = t.dir / "out", t.dir / "err"
    with out.open("w") as to_out, err.open("w") as to_err:
        shell = subprocess.Popen([*by_itself(env), "bash", "-e", "-c", script], cwd=directory, env=env,
                                 stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err, start_new_session=True)
        status = shell.wait(200)
    try:
        os.killpg(shell.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if status != 0:
        where = re.findall(r"^@@ line (\d+)$", out.read_text(), re.M)[-1]
        raise Failure(f"{path.name}: the block at line {where} ends with status {status}: {err.read_text()[-1500:]}")


def test_scripts_that_are_not_run_have_the_options_of_their_lines() -> None:
    """A block that takes minutes is held against what --help says."""
    lines = [(path, line) for path in DOCUMENTS for block in blocks_of(path) if block.not_run
             for line in block.text.splitlines() if line.startswith("scripts/")]
    if len(lines) < 10:
        raise Failure(f"only {len(lines)} lines with scripts are found")
    for path, line in lines:
        script, *words = line.split("#")[0].split()
        told = subprocess.run([REPOSITORY / script, "--help"], capture_output=True, text=True, check=False).stdout
        if lost := [word for word in words if word.startswith("-") and not re.search(rf"(?<![\w-]){word}(?![\w-])", told)]:
            raise Failure(f"{path.name}: '{line}': --help of {script} does not know {lost}")
