# SPDX-License-Identifier: Apache-2.0
"""The real programs: a command line each; servers, which have to be fed, are in servers.py."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import inputs, servers
from .measure import InstructionCounter, cpu_ns
from .subjects import Subject


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str] = ()      # {scratch}: an empty directory
    script: Path | None = None       # standard input
    variables: Mapping[str, str] = field(default_factory=dict)
    serve: "Callable[[Program, Sequence[str], Mapping[str, str]], float] | None" = None  # runs and feeds a server
    own_allocator: bool = False      # linked to one, so that 'no preload' would not be glibc's malloc
    varies: bool = False             # does not execute the same instructions every time
    counted: bool = True             # under valgrind; servers of many processes are not


def bare_environment(program: Program, subject: Subject) -> dict[str, str]:
    """A program that brings its own allocator is led to glibc's by preloading the C library itself."""
    if program.own_allocator and subject.kind == "direct" and subject.backend == "system":
        subject = replace(subject, variables={"LD_PRELOAD": "libc.so.6"})
    return subject.environment() | dict(program.variables)


def find_programs(folder: Path, quick: bool) -> tuple[list[Program], list[str]]:
    """\\return the programs that this machine has, and a line for each that it has not"""
    programs: list[Program] = []
    left_out: list[str] = []

    def offer(needed: Sequence[str], make: Callable[[], Program]) -> None:
        missing = [name for name in needed if not shutil.which(name)]
        if missing:
            left_out.append(f"{' and '.join(missing)} not installed")
        else:
            programs.append(make())

    offer(["sqlite3"], lambda: Program("sqlite3", ["sqlite3", "-batch", ":memory:"],
                                       inputs.write_sql(folder, quick)))
    # The interpreter itself: a launcher script would start a shell under the preload as well.
    python = [os.path.realpath(sys.executable), "-S", "-B", str(inputs.write_python(folder, quick))]
    programs.append(Program("python3", python))
    programs.append(Program("python3, PYTHONMALLOC=malloc", python, variables={"PYTHONMALLOC": "malloc"}))
    if cc1plus := compiler_proper():
        programs.append(Program("gcc (cc1plus)", [cc1plus, "-fpreprocessed", "-quiet", "-O1", "-std=c++17",
                                                  "-o", os.devnull, str(inputs.write_cpp(folder, quick))]))
    else:
        left_out.append("cc1plus is not installed")
    offer(["clang++"], lambda: Program("clang", ["clang++", "-O1", "-std=c++17", "-w", "-c", "-o", os.devnull,
                                                 str(inputs.write_cpp(folder, quick, "clang++"))]))
    offer(["redis-server", "redis-cli"], lambda: servers.redis(inputs.write_redis(folder, quick)))
    offer(["mdb_load"], lambda: Program("LMDB (mdb_load)", ["mdb_load", "-f", str(inputs.write_lmdb(folder, quick)),
                                                            "{scratch}"]))
    offer(["db_bench"], lambda: Program(
        "rocksdb (db_bench)", ["db_bench", "--benchmarks=fillrandom,readrandom,overwrite", "--db={scratch}",
                               f"--num={20_000 if quick else 100_000}", "--threads=2", "--disable_wal=1",
                               "--seed=1", "--write_buffer_size=4194304"], varies=True))
    if binaries := servers.postgres_binaries():
        programs.append(servers.postgres(binaries, 200 if quick else 2000))
    else:
        left_out.append("postgres or pgbench is not installed")
    return programs, left_out


def compiler_proper() -> str:
    if not shutil.which("g++"):
        return ""
    shown = subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True, text=True)
    return shown.stdout.strip() if os.path.isabs(shown.stdout.strip()) else ""


def cpu_time_ns(program: Program, subject: Subject, folder: Path) -> float:
    """\\return user and system time of one run"""
    return run_program(program, [*subject.wrapper, *program.command], bare_environment(program, subject), folder)


def count_instructions(program: Program, subject: Subject, folder: Path) -> float:
    """\\return user-space instructions of one run"""
    counter = InstructionCounter(folder)
    run_program(program, counter.wrapped(program.command), bare_environment(program, subject), folder)
    return counter.result()


def run_program(program: Program, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    if program.serve:
        return program.serve(program, command, environment)
    with tempfile.TemporaryDirectory(prefix="scratch.", dir=folder) as scratch, \
            open(program.script or os.devnull, "rb") as script:
        child = subprocess.Popen([word.replace("{scratch}", scratch) for word in command], env=environment,
                                 stdin=script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return cpu_ns(child, program.name)
