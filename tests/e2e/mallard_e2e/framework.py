# SPDX-License-Identifier: Apache-2.0
"""How a test is declared, and what a test function is given: the `Test` object.

    @test(backends=ALL, timeout=60)
    def redis(t: Test) -> None: ...

registers one test case per backend, named `redis.<backend>`. `again`: by backend, a regular expression for failures
that are a known fault of that backend itself, with or without mallard: such a test is run once more, and said to be. A test fails by raising, best through
`t.check`, and is skipped by `t.skip(reason)`.
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
SYSTEM = ("system",)
E2E_DIR = Path(__file__).resolve().parent.parent
CASES_DIR = E2E_DIR / "cases"
# Every time limit of a test is far above what a machine of its own needs, and is multiplied by this: a shared one may
# let a test stand still for seconds. Only what hangs pays for it.
PATIENCE = 4


class Skip(Exception):
    """The test cannot run here; the text is the reason that is printed."""


class Failure(Exception):
    """The test found something wrong; the text says what."""


@dataclass(frozen=True)
class Declared:
    name: str
    function: Callable[["Test"], None]
    backends: tuple[str, ...]
    timeout: float
    again: Mapping[str, str]


REGISTRY: list[Declared] = []


def test(name: str = "", backends: Sequence[str] = SYSTEM, timeout: float = 60,
         again: Mapping[str, str] | None = None) -> Callable[[Callable[["Test"], None]], Callable[["Test"], None]]:
    def register(function: Callable[["Test"], None]) -> Callable[["Test"], None]:
        full = name or f"{function.__module__.rpartition('.')[2].removeprefix('tests_')}.{function.__name__}"
        REGISTRY.append(Declared(full, function, tuple(backends), timeout, again or {}))
        return function
    return register


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

    def __init__(self, name: str, backend: Backend, build: Path, directory: Path, session: Path) -> None:
        self.name = name
        self.backend = backend
        self.build = build
        self.library = build / "libmallard.so"
        self.dir = directory                      # build/e2e/<test>, kept if the test fails
        self.session = session                    # shared by all tests of one run
        self.tmp = Path(tempfile.mkdtemp(prefix="mallard-e2e-"))  # short: sockets live here
        self.tmp.chmod(0o755)
        (directory / "scratch").write_text(str(self.tmp))
        self.notes: list[str] = []                # printed behind "ok"
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
               "ALLOC_REPORT": str(self.dir / "report.%e.%p.%n")}
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
