# SPDX-License-Identifier: Apache-2.0
"""What a test of the command is given: a scratch directory, a compiler, the command."""
from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.framework import Failure, Skip

PROGRAM = "#include <stdlib.h>\nint main(void) { free(malloc(10)); return 0; }\n"


def on_terminal(command: list[str | Path], cwd: Path, columns: int = 80, errors: bool = False, **env: str) -> str:
    """What a command writes to a terminal of that many columns and 24 rows; standard error, too, if `errors`."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "DEBUGINFOD_URLS")}
    process = subprocess.Popen(command, cwd=cwd, stdin=its, stdout=its, stderr=its if errors else subprocess.DEVNULL,
                               env={**kept, "TERM": "xterm", **env}, start_new_session=True)
    os.close(its)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # so Linux says that nobody has the other end any more
            break
        if not piece:
            break
        text += piece
    process.wait()
    os.close(ours)
    return text.decode(errors="replace").replace("\r\n", "\n")


@dataclass
class Checked:
    status: int
    stdout: str
    stderr: str

    @property
    def verdict(self) -> str:
        return self.stdout.partition("\n")[0]


class Test:
    __test__ = False  # for pytest: it is no test itself

    def __init__(self, build: Path) -> None:
        self.mallard = build / "mallard"
        self._scratch = tempfile.TemporaryDirectory(prefix="mallard.cli.")
        self.dir = Path(self._scratch.name)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Test":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        self._scratch.cleanup()

    def check(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Checked:
        """Runs `mallard check`, with status 1 if anything is not seen; a crash is a failure of any test."""
        done = self.run("check", "--fail-on", "any", *arguments, env=env)
        is_told = re.fullmatch(r"mallard: finding: mallard \w+ not see .* \(--fail-on any\)\n", done.stderr)
        if done.status == 1 and not is_told:
            raise Failure(f"standard error is {done.stderr!r}, which tells no finding")
        return Checked(done.status, done.stdout, "") if done.status == 1 else done

    def run(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Checked:
        done = subprocess.run([self.mallard, *arguments], capture_output=True, text=True, errors="replace",
                              cwd=self.dir, timeout=200, env={**os.environ, **(env or {})}, check=False)
        if done.returncode not in (0, 1, 2, 3):
            raise Failure(f"mallard {' '.join(map(str, arguments))}: status {done.returncode}\n{done.stderr}")
        return Checked(done.returncode, done.stdout, done.stderr)

    def check_json(self, target: str | Path) -> dict[str, Any]:
        return json.loads(self.check("--json", target).stdout)

    def compile(self, name: str, *options: str, source: str = PROGRAM, compiler: str = "gcc") -> Path:
        """Compiles into the scratch directory; skips the test where the compiler cannot do it."""
        if not shutil.which(compiler):
            raise Skip(f"there is no {compiler}")
        out = self.dir / name
        code = self.dir / f"{name}.c"
        code.write_text(source)
        done = subprocess.run([compiler, "-O1", "-fno-builtin", "-o", out, code, *options], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise Skip(f"{compiler} {' '.join(options)} fails: {done.stderr.strip().splitlines()[-1]}")
        return out

    def start(self, *command: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A process that ends with the test at the latest. It has printed a line when this returns."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=self.dir, env={**os.environ, **(env or {})})
        self._processes.append(process)
        assert process.stdout
        process.stdout.readline()
        return process

    @staticmethod
    def expect(checked: Checked, status: int, *texts: str, verdict: str = "", error: str = "") -> None:
        """Status, parts of standard output, part of the verdict line, part of standard error."""
        everything = f"\n--- status {checked.status}\n{checked.stdout}--- stderr\n{checked.stderr}"
        if checked.status != status:
            raise Failure(f"status {checked.status}, expected {status}{everything}")
        if verdict not in checked.verdict:
            raise Failure(f"verdict lacks {verdict!r}{everything}")
        for text in texts:
            if text not in checked.stdout:
                raise Failure(f"output lacks {text!r}{everything}")
        if error not in checked.stderr or bool(error) != bool(checked.stderr):
            raise Failure(f"standard error should be about {error!r}{everything}")
        if checked.status >= 2 and not checked.stderr.startswith("mallard: error: "):
            raise Failure(f"no error line{everything}")
