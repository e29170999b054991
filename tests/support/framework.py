# SPDX-License-Identifier: Apache-2.0
"""What a test of the suites e2e, workloads and embedded is given as `t`: scratch places, processes, environments.

A test fails by raising, best through `t.check` and `t.equal`, and is skipped by `t.skip(reason)`. This module needs
nothing but Python itself where there is no pytest, because scripts/accuracy uses it as well.
"""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .backends import Backend

ALL = ("system", "jemalloc", "mimalloc2", "mimalloc3", "tcmalloc")
REPOSITORY = Path(__file__).resolve().parents[2]
CASES_DIR = REPOSITORY / "tests" / "e2e" / "cases"
# Every time limit of a test is far above what a machine of its own needs, and is multiplied by this: a shared one may
# let a test stand still for seconds. Only what hangs pays for it.
PATIENCE = 4


try:
    from pytest import skip
    Skip = skip.Exception
except ImportError:  # scripts/accuracy does without pytest
    class Skip(Exception):  # type: ignore[no-redef]
        """The test cannot run here; the text is the reason that is printed."""


class Failure(AssertionError):
    """The test found something wrong; the text says what."""


def wait_until(condition: Callable[[], Any], seconds: float, what: str, step: float = 0.01) -> Any:
    """The first true value of `condition`; fails after `seconds`, PATIENCE times over."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds:g} s in vain for {what}")
        time.sleep(step)
    return value


@dataclass
class Finished:
    """How a process ended. `status` is negative for a signal, as in subprocess."""
    pid: int
    status: int
    stdout: str
    stderr: str


class Test:
    """Scratch places, processes and environments of one running test case."""

    __test__ = False  # for pytest: it is no test itself

    def __init__(self, backend: Backend, build: Path, directory: Path, session: Path, mode: str = "") -> None:
        self.backend = backend
        self.build = build
        self.library = build / "libmallard.so"
        self.mode = mode                          # ALLOC_MODE, '' to leave it alone
        self.dir = directory                      # build/e2e/<test>, kept if the test fails
        self.session = session                    # shared by all tests of one run
        self.tmp = Path(tempfile.mkdtemp(prefix="mallard-e2e-"))  # short: sockets live here
        self.tmp.chmod(0o755)
        self.notes: list[str] = []                # shown by pytest -v
        self._serial = 0

    def close(self) -> None:
        shutil.rmtree(self.tmp, ignore_errors=True)

    # -- verdicts
    def check(self, condition: object, message: str) -> None:
        if not condition:
            raise Failure(message)

    def equal(self, found: object, expected: object, what: str) -> None:
        if found != expected:
            raise Failure(f"{what}: {_short(found)} instead of {_short(expected)}")

    def skip(self, reason: str) -> NoReturn:
        raise Skip(reason)

    def program(self, *names: str, folders: Sequence[str] = ("/usr/sbin", "/usr/bin")) -> str:
        """Path of the first of `names` that is installed; skips the test if none is."""
        for name in names:
            if found := shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")])):
                return found
        self.skip(f"{' or '.join(names)} is not installed")

    # -- environments
    def plain_env(self, **extra: str) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items()
               if key != "LD_PRELOAD" and not key.startswith(("ALLOC_", "MALLOC_", "MIMALLOC_"))}
        return env | {"LC_ALL": "C.UTF-8", "HOME": str(self.tmp)} | extra

    def preload_env(self, **extra: str) -> dict[str, str]:
        env = {"LD_PRELOAD": str(self.library), "ALLOC_BACKEND": self.backend.value,
               "ALLOC_REPORT": str(self.dir / "report.%e.%p.%n"),
               **({"ALLOC_MODE": self.mode} if self.mode else {})}
        return self.plain_env(**(env | extra))

    # -- processes
    def start(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None,
              label: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """Starts `argv` under the preload (or with `env`); its output goes to files in `self.dir`
        named <label>.stdout and <label>.stderr unless options say otherwise."""
        self._serial += 1
        label = label or f"{self._serial:02d}-{Path(str(argv[0])).name}"
        (self.dir / f"{label}.argv").write_text("\n".join(map(str, argv)) + "\n")
        options.setdefault("cwd", self.tmp)
        options.setdefault("stdin", subprocess.DEVNULL)
        if "stdout" not in options:
            options["stdout"] = open(self.dir / f"{label}.stdout", "wb")
        if "stderr" not in options:
            options["stderr"] = open(self.dir / f"{label}.stderr", "wb")
        process = subprocess.Popen([str(arg) for arg in argv],
                                   env=dict(self.preload_env() if env is None else env), **options)
        process.label = label  # type: ignore[attr-defined]
        return process

    def output_of(self, process: subprocess.Popen[bytes], stream: str = "stdout") -> str:
        path = self.dir / f"{process.label}.{stream}"  # type: ignore[attr-defined]
        return path.read_text(errors="replace") if path.exists() else ""

    def finish(self, process: subprocess.Popen[bytes], seconds: float = 60,
               expect: int | None = 0) -> Finished:
        """Waits for the end (PATIENCE times `seconds`) and checks the exit status, unless `expect` is None."""
        name = process.label  # type: ignore[attr-defined]
        seconds *= PATIENCE
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{name} (pid {process.pid}) still runs after {seconds:g} s") from None
        done = Finished(process.pid, status, self.output_of(process), self.output_of(process, "stderr"))
        if expect is not None and status != expect:
            how = f"died of {signal.Signals(-status).name}" if 0 < -status < 32 else f"exit status {status}"
            raise Failure(f"{name}: {how} instead of exit status {expect}; "
                          f"stderr ends: {_short(done.stderr[-400:].strip())}")
        return done

    def run(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None,
            seconds: float = 60, expect: int | None = 0, **options: Any) -> Finished:
        return self.finish(self.start(argv, env, **options), seconds, expect)

    # -- results that all backends share
    def baseline(self, key: str, compute: Callable[[], Any]) -> Any:
        """What the run without preload gave: computed once per session, JSON in between."""
        path = self.session / f"{key}.json"
        with locked(self.session / f"{key}.lock"):
            if not path.exists():
                value = compute()
                path.write_text(json.dumps(value))
            return json.loads(path.read_text())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 400 else text[:200] + " ... " + text[-200:]
