# SPDX-License-Identifier: Apache-2.0
"""Programs that are measured while a client feeds them: redis-server and PostgreSQL."""
from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import without_root

from .measure import BenchError, cpu_ns

if TYPE_CHECKING:
    from .programs import Program

PATIENCE_SECONDS = 300


def redis(commands: Path) -> "Program":
    from .programs import Program

    def serve(program: "Program", command: Sequence[str], environment: Mapping[str, str]) -> float:
        return run_redis(program, command, environment, commands)

    return Program("redis", ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--hz", "1",
                             "--dynamic-hz", "no"], own_allocator=True, varies=True, serve=serve)


def plain_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}


def run_redis(program: "Program", command: Sequence[str], environment: Mapping[str, str], commands: Path) -> float:
    plain = plain_environment()
    with tempfile.TemporaryDirectory(prefix="mallard-bench.") as place:  # a socket's path must be short
        socket = f"{place}/s"
        server = subprocess.Popen([*command, "--unixsocket", socket, "--dir", place], env=environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.exists(socket), server, program.name)
            with commands.open("rb") as stream:
                fed = subprocess.run(["redis-cli", "-s", socket, "--pipe"], stdin=stream, env=plain,
                                     capture_output=True, text=True, timeout=PATIENCE_SECONDS)
            if fed.returncode != 0:
                raise BenchError(f"redis-cli --pipe: {fed.stdout.strip()[-300:]}")
            subprocess.run(["redis-cli", "-s", socket, "shutdown", "nosave"], env=plain, capture_output=True,
                           timeout=PATIENCE_SECONDS)
            return cpu_ns(server, program.name)
        finally:
            if server.returncode is None:
                server.kill()
                server.wait()


def postgres_binaries() -> str:
    for path in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True):
        if all(os.path.exists(f"{path}/{name}") for name in ("initdb", "postgres", "pgbench")):
            return path
    return ""


def postgres(binaries: str, transactions: int) -> "Program":
    from .programs import Program

    def serve(program: "Program", command: Sequence[str], environment: Mapping[str, str]) -> float:
        return run_postgres(program, command, environment, binaries, transactions)

    return Program("postgres (pgbench)", [f"{binaries}/postgres"], varies=True, counted=False, serve=serve)


def run_postgres(program: "Program", command: Sequence[str], environment: Mapping[str, str], binaries: str,
                 transactions: int) -> float:
    who, plain = without_root(), plain_environment()
    if not who and os.geteuid() == 0:
        raise BenchError("no user to run postgres as")
    place = tempfile.mkdtemp(prefix="mallard-bench.")
    if who:
        os.chown(place, who["user"], who["group"])  # type: ignore[arg-type]

    def tool(*arguments: str) -> None:
        done = subprocess.run([f"{binaries}/{arguments[0]}", *arguments[1:]], env=plain, capture_output=True,
                              text=True, cwd=place, timeout=PATIENCE_SECONDS, **who)  # type: ignore[call-overload]
        if done.returncode != 0:
            raise BenchError(f"{arguments[0]}: {done.stderr.strip()[-300:]}")

    server = None
    try:
        tool("initdb", "-D", f"{place}/data", "-U", "bench", "-A", "trust", "-N")
        server = subprocess.Popen([*command, "-D", f"{place}/data", "-k", place, "-c", "listen_addresses=",
                                   "-c", "fsync=off", "-c", "autovacuum=off"], env=environment, cwd=place,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  **who)  # type: ignore[call-overload]
        ready = Path(place, "data", "postmaster.pid")
        wait_for(lambda: ready.exists() and "ready" in ready.read_text(), server, program.name)
        tool("pgbench", "-i", "-q", "-s", "2", "-h", place, "-U", "bench", "postgres")
        tool("pgbench", "-n", "-c", "2", "-t", str(transactions), "-h", place, "-U", "bench", "postgres")
        server.terminate()
        return cpu_ns(server, program.name)  # with its children, for which it waits
    finally:
        if server and server.returncode is None:
            server.kill()
            server.wait()
        shutil.rmtree(place, ignore_errors=True)


def wait_for(condition: Callable[[], bool], server: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if server.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{name} did not become ready")
        time.sleep(0.01)
