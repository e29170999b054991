# SPDX-License-Identifier: Apache-2.0
"""The real programs: a command line each, except redis, which has to be fed."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import inputs
from .measure import BenchError, InstructionCounter, cpu_ns
from .subjects import Subject

PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str] = ()
    script: Path | None = None       # standard input
    commands: Path | None = None     # for redis-server: what redis-cli sends
    own_allocator: bool = False      # linked to one, so that 'no preload' would not be glibc's malloc
    varies: bool = False             # does not execute the same instructions every time


def bare_environment(program: Program, subject: Subject) -> dict[str, str]:
    """A program that brings its own allocator is led to glibc's by preloading the C library itself."""
    if program.own_allocator and subject.kind == "direct" and subject.backend == "system":
        subject = replace(subject, variables={"LD_PRELOAD": "libc.so.6"})
    return subject.environment()


def find_programs(folder: Path, quick: bool) -> tuple[list[Program], list[str]]:
    """\\return the programs that this machine has, and a line for each that it has not"""
    programs: list[Program] = []
    left_out: list[str] = []
    if shutil.which("sqlite3"):
        programs.append(Program("sqlite3", ["sqlite3", "-batch", ":memory:"], inputs.write_sql(folder, quick)))
    else:
        left_out.append("sqlite3 is not installed")
    # The interpreter itself: a launcher script would start a shell under the preload as well.
    programs.append(Program("python3", [os.path.realpath(sys.executable), "-S", "-B",
                                        str(inputs.write_python(folder, quick))]))
    cc1plus = compiler_proper()
    if cc1plus:
        programs.append(Program("gcc (cc1plus)", [cc1plus, "-fpreprocessed", "-quiet", "-O1", "-std=c++17",
                                                  "-o", os.devnull, str(inputs.write_cpp(folder, quick))]))
    else:
        left_out.append("cc1plus is not installed")
    if shutil.which("redis-server") and shutil.which("redis-cli"):
        programs.append(Program("redis", ["redis-server", "--port", "0", "--save", "", "--appendonly", "no",
                                          "--hz", "1", "--dynamic-hz", "no"],
                                commands=inputs.write_redis(folder, quick), own_allocator=True, varies=True))
    else:
        left_out.append("redis-server or redis-cli is not installed")
    return programs, left_out


def compiler_proper() -> str:
    if not shutil.which("g++"):
        return ""
    shown = subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True, text=True)
    return shown.stdout.strip() if os.path.isabs(shown.stdout.strip()) else ""


def cpu_time_ns(program: Program, subject: Subject, folder: Path) -> float:
    """\\return user and system time of one run"""
    return run_program(program, program.command, bare_environment(program, subject), folder)


def count_instructions(program: Program, subject: Subject, folder: Path) -> float:
    """\\return user-space instructions of one run"""
    counter = InstructionCounter(folder)
    run_program(program, counter.wrapped(program.command), bare_environment(program, subject), folder)
    return counter.result()


def run_program(program: Program, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    if program.commands:
        return run_redis(program, command, environment, folder)
    with open(program.script or os.devnull, "rb") as script:
        child = subprocess.Popen(command, env=environment, stdin=script, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        return cpu_ns(child, program.name)


def run_redis(program: Program, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    assert program.commands
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    with tempfile.TemporaryDirectory(prefix="mallard-bench.") as place:  # a socket's path must be short
        socket = f"{place}/s"
        server = subprocess.Popen([*command, "--unixsocket", socket, "--dir", place], env=environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.exists(socket), server)
            with program.commands.open("rb") as stream:
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


def wait_for(condition: Callable[[], bool], server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if server.poll() is not None or time.monotonic() > deadline:
            raise BenchError("redis-server did not open its socket")
        time.sleep(0.01)
