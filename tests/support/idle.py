# SPDX-License-Identifier: Apache-2.0
"""A small program that holds 8 MB and waits for a line: the host of the tests about reports and options."""
from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .compiler import build_case
from .framework import Finished, Test, wait_until


def start_idle(t: Test, env: dict[str, str], program: Path | None = None, words: Sequence[str] = (),
               **options: Any) -> subprocess.Popen[bytes]:
    path = program or build_case(t, "idle.c")
    process = t.start([path, *words], env, label=options.pop("label", path.stem), stdin=subprocess.PIPE,
                      **options)
    wait_until(lambda: "ready" in t.output_of(process) or process.poll() is not None, 10, f"{path.name}")
    return process


def finish_idle(t: Test, process: subprocess.Popen[bytes]) -> Finished:
    """The host must come to its regular end whatever happened to the report."""
    assert process.stdin is not None
    try:
        process.stdin.write(b"go\n")
        process.stdin.close()
    except BrokenPipeError:
        pass
    done = t.finish(process)
    t.check(done.stdout.endswith("ok\n"), f"the program did not end well: {done.stdout[-200:]!r}")
    return done


def mallard_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("mallard:")]
