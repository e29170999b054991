# SPDX-License-Identifier: Apache-2.0
"""Programs of the suite `unit` that contain a mutant: they are linked with it and run, the unit tests first.

Beside executables these are objects that a program preloads (stack_compare), and the executables that are built with
sanitizers. Objects of a mutant are compiled without optimisation.
"""
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from .mutants import ROOT, Mutant

UNIT, PROGRAM = "unit", "program"
SLOW_CASE = 0.3  # seconds: such test cases run after all others
ALLOCATORS = ["glibc", "jemalloc", "mimalloc", "tcmalloc"]


class DoesNotCompile(Exception):
    """It is no mutant then."""


class TestRun(NamedTuple):
    name: str
    command: List[str]
    environment: Dict[str, str]
    target: str  # which word, of the command or the environment, is the path of what is linked
    vast: bool = False  # a sanitizer maps more memory than there is

    def concerns(self, path: str) -> bool:
        """What is named for one allocator tells nothing of another one's files."""
        own = [name for name in ALLOCATORS if name in self.name]
        others = [name for name in ALLOCATORS if name in Path(path).name]
        return not own or not others or own == others


class Linked:
    """Something that the build links: how, of which objects, and which tests run it."""

    def __init__(self, build: Path, target: str, archives: Dict[str, List[str]]):
        self.target = target
        listed = subprocess.run(["ninja", "-C", build, "-t", "commands", "-s", target], capture_output=True, text=True)
        self.link = shlex.split(listed.stdout.splitlines()[-1])
        self.archives = archives
        self.tests: Optional[List[Tuple[TestRun, float]]] = None  # with how long they take on what is not broken
        self.objects: Set[str] = set()

    def sanitized(self) -> bool:
        return any(word.startswith("-fsanitize") for word in self.link)

    def stage(self) -> str:
        return UNIT if not self.sanitized() and any("catch2_main" in word for word in self.link) else PROGRAM

    def relink(self, output: str, instead: Dict[str, str]) -> List[str]:
        """The link command with other objects in the place of some, or before the archives that hold them; an archive
        that is linked whole is taken apart."""
        words: List[str] = []
        first, whole = dict(instead), False
        for word in self.link:
            whole = {"-Wl,--whole-archive": True, "-Wl,--no-whole-archive": False}.get(word, whole)
            members = self.archives.get(word, []) if whole else [word]
            if not set(members) & set(instead):
                words.append(word)
                continue
            for member in members:
                words.append(instead.get(member, member))
                first.pop(member, None)
        at = words.index("-o")
        words[at + 1] = output
        return [*words[:at], *first.values(), *words[at:]]


class Build:
    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / "build.ninja").exists():
            run_or_exit(["meson", "setup", folder, ROOT, "-Doptimization=1", "-Ddebug=false", "-Dhtml=disabled"])
        run_or_exit(["ninja", "-C", folder, "build.ninja"])
        self.compile = {entry["output"]: entry for entry in json.loads((folder / "compile_commands.json").read_text())}
        self.archives: Dict[str, List[str]] = defaultdict(list)
        for output in self.compile:
            self.archives[output.split(".p/")[0]].append(output)
        self.meson_tests = json.loads((folder / "meson-info/intro-tests.json").read_text())
        targets = {t["filename"][0]: t for t in json.loads((folder / "meson-info/intro-targets.json").read_text())
                   if t["filename"]}
        by_id = {t["id"]: name for name, t in targets.items()}
        self.runs = defaultdict(list)
        self.needs = defaultdict(set)
        for test in self.meson_tests:
            words = {test["cmd"][0], *test["env"].values()}
            linked = [name for name in words if targets.get(name, {}).get("type") in ("executable", "shared library")]
            if any(s.endswith("unit") for s in test["suite"]) and linked:
                name = os.path.relpath(linked[0], folder)
                self.runs[name].append(TestRun(test["name"], test["cmd"], test["env"], linked[0]))
                self.needs[name] |= {os.path.relpath(by_id[t], folder) for t in test["depends"] if t in by_id}
        self.programs = [self.linked(name) for name in self.runs]
        self.lock = threading.Lock()

    def linked(self, target: str) -> Linked:
        return Linked(self.folder, target, self.archives)

    # -- which files are in it
    def may_contain(self, linked: Linked, paths: List[str]) -> bool:
        objects = {o for o, entry in self.compile.items() if self.source_of(entry) in paths}
        libraries = {o.split(".p/")[0] for o in objects}
        return any(word in libraries or word in objects for word in linked.link) or any(not p.endswith(".cpp") for p in paths)

    def trace(self, linked: Linked) -> None:
        """Finds which objects are in it."""
        traced = subprocess.run([*linked.relink(os.devnull, {}), "-Wl,--trace"], cwd=self.folder,
                                capture_output=True, text=True).stdout
        linked.objects = {self.object_named(line) for line in traced.splitlines()} & set(self.compile)

    def affected(self, linked: Linked, path: str) -> List[str]:
        return sorted(o for o in linked.objects if path in self.includes.get(o, ()))

    def source_of(self, entry: dict) -> str:
        return os.path.relpath(os.path.normpath(os.path.join(entry["directory"], entry["file"])), ROOT)

    @staticmethod
    def object_named(line: str) -> str:
        """Of a line of the linker's trace: `a/libb.a(c.o)`, of a thin archive `(a/libb.a)a/libb.a.p/c.o` or the latter."""
        member = re.fullmatch(r"(.+\.a)\((.+\.o)\)", line.strip())
        return f"{member[1]}.p/{member[2]}" if member else re.sub(r"^\(.*\)", "", line.strip())

    def read_includes(self) -> None:
        listed = subprocess.run(["ninja", "-C", self.folder, "-t", "deps"], capture_output=True, text=True).stdout
        self.includes: Dict[str, Set[str]] = {}
        for line in listed.splitlines():
            if line.startswith(" "):
                name = os.path.relpath(os.path.normpath(os.path.join(self.folder, line.strip())), ROOT)
                if not name.startswith(".."):
                    self.includes[now].add(name)
            elif ":" in line:
                now = line.split(":")[0]
                self.includes[now] = set()

    # -- on what is not broken
    def prepare(self, paths: List[str], slowest: float, more: List[Linked]) -> None:
        """Builds what may contain one of the files, and `more`."""
        wanted = [p for p in self.programs if self.may_contain(p, paths)]
        names = {p.target for p in [*wanted, *more]}.union(*(self.needs[p.target] for p in wanted))
        run_or_exit(["ninja", "-C", self.folder, *sorted(names)])
        self.read_includes()
        for linked in [*wanted, *more]:
            self.trace(linked)
        self.programs = sorted((p for p in wanted if any(self.affected(p, path) for path in paths)),
                               key=lambda p: p.stage() != UNIT)
        self.slowest = slowest

    def tests_of(self, linked: Linked) -> List[Tuple[TestRun, float]]:
        """Its runs, the quickest first. They are tried on what is not broken before the first mutant meets them."""
        with self.lock:
            if linked.tests is None:
                with tempfile.TemporaryDirectory(prefix="mutate-") as scratch:
                    # Called as a mutant's program is: a test that minds its name would kill them all.
                    program = Path(scratch) / "program"
                    run_or_exit(["env", "-C", self.folder, *linked.relink(str(program), {})])
                    linked.tests = sorted(self.tried(linked, program), key=lambda pair: pair[1])
        return linked.tests

    def tried(self, linked: Linked, program: Path) -> Iterator[Tuple[TestRun, float]]:
        for test in self.steps(linked):
            started = time.monotonic()
            if not passes(test, program, 600):
                sys.exit(f"error: {test.name} fails without any change")
            if time.monotonic() - started > self.slowest:
                print(f"warning: {test.name} is slow and left out", file=sys.stderr)
            else:
                yield test, time.monotonic() - started

    def steps(self, linked: Linked) -> Iterator[TestRun]:
        """The runs of a program; of Catch2, first the quick test cases, then each slow one by itself."""
        for test in self.runs[linked.target]:
            if linked.stage() != UNIT:
                yield test._replace(vast=linked.sanitized())
                continue
            timed = subprocess.run([*test.command, "--durations", "yes"], capture_output=True, text=True,
                                   env={**os.environ, **test.environment}).stdout
            known = subprocess.run([*test.command, "--list-test-names-only"], capture_output=True, text=True,
                                   env={**os.environ, **test.environment}).stdout.splitlines()
            # A comma in a name would end it, so that a name is asked for by what stands before it.
            slow = sorted({re.sub(r"[,\[\\].*", "*", name) for seconds, name
                           in re.findall(r"^([\d.]+) s: (.*)$", timed, re.M)
                           if float(seconds) > SLOW_CASE and name in known})  # sections of a case have times, too
            for name, cases in [("the quick ones", [f"~{name}" for name in slow]), *((name, [name]) for name in slow)]:
                yield test._replace(name=f"{test.name}: {name}",
                                    command=[*test.command, "--abort", "--warn", "NoTests", *cases])

    # -- on what is broken
    def compile_command(self, obj: str, mutant: Mutant, overlay: Path, output: Path, flags: List[str]) -> List[str]:
        entry = self.compile[obj]
        words, kept = shlex.split(entry["command"]), []
        while words:
            word = words.pop(0)
            if word in ("-MF", "-MQ", "-o"):
                words.pop(0)
            elif word != "-MD":
                kept.append(str(overlay / mutant.path) if word == entry["file"] and self.source_of(entry) == mutant.path
                            else word)
        first = next(i for i, word in enumerate(kept) if word.startswith("-I"))
        return [*kept[:first], f"-I{overlay}", *kept[first:], "-w", *flags, "-o", str(output)]

    def ask_programs(self, broken: "Broken") -> Optional[Tuple[str, str]]:
        """The stage and the name of the test that a mutant fails, None if there is none."""
        for linked in self.programs:
            program = broken.scratch / "program"
            if broken.link(linked, program, ["-O0"]):
                for test, seconds in self.tests_of(linked):
                    if test.concerns(broken.mutant.path) and not passes(test, program, 5 + 10 * seconds):
                        return linked.stage(), test.name
        return None


class Broken:
    """A mutant and what has been made of it."""

    def __init__(self, build: Build, mutant: Mutant, scratch: Path):
        self.build, self.mutant, self.scratch = build, mutant, scratch
        self.made: Dict[Tuple[str, ...], str] = {}
        changed = scratch / "tree" / mutant.path
        changed.parent.mkdir(parents=True)
        changed.write_text(mutant.text)

    def link(self, linked: Linked, output: Path, flags: List[str]) -> bool:
        """Whether it contains the mutant, and has been linked with it."""
        affected = self.build.affected(linked, self.mutant.path)
        instead = {obj: self.object(obj, flags) for obj in affected}
        if affected and not quietly(linked.relink(str(output), instead), self.build.folder):
            raise DoesNotCompile
        return bool(affected)

    def object(self, obj: str, flags: List[str]) -> str:
        key = (obj, *flags)
        if key not in self.made:
            output = self.scratch / f"{len(self.made)}.o"
            if not quietly(self.build.compile_command(obj, self.mutant, self.scratch / "tree", output, flags),
                           self.build.folder):
                raise DoesNotCompile
            self.made[key] = str(output)
        return self.made[key]


def run_or_exit(command: list) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}\nerror: {shlex.join(map(str, command))} failed")


def quietly(command: List[str], folder: Path) -> bool:
    # Nobody compiles a mutant twice: ccache shall not keep it.
    return subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env={**os.environ, "CCACHE_DISABLE": "1"}).returncode == 0


def passes(test: TestRun, program: Path, seconds: float) -> bool:
    def limit_process() -> None:
        """A broken program shall not take the machine with it."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        if not test.vast:
            resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))

    def here(word: str) -> str:
        return str(program) if word == test.target else word

    with tempfile.TemporaryDirectory(prefix="mutate-run-") as folder:
        running = subprocess.Popen([here(word) for word in test.command], cwd=folder,
                                   env={**os.environ, **{name: here(value) for name, value in test.environment.items()}},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True, preexec_fn=limit_process)
        try:
            return running.wait(seconds) in (0, 77)
        except subprocess.TimeoutExpired:
            return False
        finally:
            try:
                os.killpg(running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            running.wait()
