# SPDX-License-Identifier: Apache-2.0
"""End-to-end tests that are asked about a mutant that all programs pass: few for each file, of TESTS.

The library, the object of `mallard attach` and the command are linked with the mutant in a folder that otherwise shows
what the build folder has, and pytest is given that folder as its build. A mutant is killed if the tests fail twice, or
take far too long.
"""
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from .mutants import ROOT
from .programs import Broken, Build

END_TO_END = "end to end"
PRODUCTS = ["libmallard.so", "libmallard-attach.so", "mallard"]
# What tests write in the build folder.
OF_TESTS = {"e2e", "pytest.failed"}

CLI, E2E = "tests/cli/test_", "tests/e2e/test_"
INSPECT, LEAKS, OUTSIDE = CLI + "inspect.py::test_", CLI + "leaks.py::test_", CLI + "dump_outside.py::test_"
SAME_REPORT = OUTSIDE + "it_is_the_report_that_the_process_would_write"
HOLDS = E2E + "ledger_closes.py::test_lines_are_what_the_program_holds"
# The tests of the first pattern that a file matches, each an argument of pytest. All of a row take half a minute at most.
TESTS: Dict[str, List[str]] = {
    "heaps/glibc*": [INSPECT + "a_heap_of_glibc_is_divided", INSPECT + "inside_and_outside_agree_about_glibc",
                     LEAKS + "lost_blocks_are_told_from_those_in_use"],
    "heaps/jemalloc*": [INSPECT + "inside_and_outside_agree_about_jemalloc", LEAKS + "lost_blocks_of_other_allocators"],
    "heaps/mimalloc3*": [INSPECT + "inside_and_outside_agree_about_mimalloc_3", LEAKS + "lost_blocks_of_other_allocators"],
    "heaps/mimalloc2*": [INSPECT + "inside_and_outside_agree_about_mimalloc"],
    "heaps/mimalloc*": [INSPECT + "inside_and_outside_agree_about_mimalloc",
                        INSPECT + "inside_and_outside_agree_about_mimalloc_3"],
    "heaps/tcmalloc*": [INSPECT + "inside_and_outside_agree_about_tcmalloc", LEAKS + "lost_blocks_of_tcmalloc"],
    "record/latency*": [E2E + "latency.py::test_known_stalls_every_call", OUTSIDE + "times_of_calls_are_read_too"],
    "record/exact/*": [E2E + "exact.py::test_truth", CLI + "exact_reports.py", SAME_REPORT + "[system-exact]",
                       CLI + "peak.py", CLI + "top_processes.py::test_top_counts_in_exact_mode"],
    "record/*": [E2E + "ground_truth.py::test_exact_when_everything_is_sampled", SAME_REPORT + "[system-sample]",
                 CLI + "peak.py"],
    "report/facts/*": [E2E + "page_use.py", HOLDS + "[view-open-system-sample]", HOLDS + "[lazy-old-jemalloc-exact]",
                       CLI + "inspect_threads.py", OUTSIDE + "times_of_calls_are_read_too"],
    "report/*": [SAME_REPORT + "[system-exact]", CLI + "report_formats.py", OUTSIDE + "growth_is_told_between_reports"],
}


def tests_of(path: str) -> List[str]:
    return next((tests for pattern, tests in TESTS.items() if fnmatch(path, pattern)), [])


class EndToEnd:
    def __init__(self, build: Build):
        self.build = build
        self.products = [build.linked(name) for name in PRODUCTS]
        self.seconds: Dict[Tuple[str, ...], float] = {}  # how long tests take on what is not broken
        self.lock = threading.Lock()  # one at a time: some tests count what the machine does
        python = [test["cmd"][0] for test in build.meson_tests if any(s.endswith("e2e") for s in test["suite"])]
        if not python:
            sys.exit("error: no Python here has what the end-to-end tests need (scripts/test says what); "
                     "--until program does without them")
        self.python = python[0]

    def contains(self, path: str) -> bool:
        return bool(tests_of(path)) and any(self.build.affected(product, path) for product in self.products)

    def ask(self, broken: Broken) -> Optional[Tuple[str, str]]:
        """The stage and the name of the test that a mutant fails, None if there is none."""
        tests = tests_of(broken.mutant.path)
        if not self.contains(broken.mutant.path):
            return None
        with self.lock:
            folder = self.folder(broken.scratch / "build")
            if tuple(tests) not in self.seconds:
                self.measure(tests, folder)
            for name, product in zip(PRODUCTS, self.products):
                target = folder / name
                target.unlink()
                if not broken.link(product, target, []):
                    target.symlink_to(self.build.folder / name)
            seconds = 60 + 5 * self.seconds[tuple(tests)]
            failed = self.failed(tests, folder, seconds) and self.failed(tests, folder, seconds)
            return (END_TO_END, failed) if failed else None

    def folder(self, folder: Path) -> Path:
        folder.mkdir()
        for entry in self.build.folder.iterdir():
            if entry.name not in OF_TESTS:
                (folder / entry.name).symlink_to(entry)
        return folder

    def measure(self, tests: List[str], folder: Path) -> None:
        """Runs them on what is not broken, linked as a mutant is; a test that is not sure to pass kills everything."""
        for name, product in zip(PRODUCTS, self.products):
            (folder / name).unlink()
            subprocess.run(product.relink(str(folder / name), {}), cwd=self.build.folder, check=True)
        started = time.monotonic()
        failed = self.failed(tests, folder, 3600)
        if failed:
            sys.exit(f"error: {failed} fails without any change")
        self.seconds[tuple(tests)] = time.monotonic() - started

    def failed(self, tests: List[str], folder: Path, seconds: float) -> str:
        """The first test that fails, '' if none does."""
        words = [self.python, "-B", "-m", "pytest", "-x", "-q", "-p", "no:xdist", f"--build={folder}", *tests]
        running = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        try:
            output = running.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            return f"{self.end(running)} (takes more than {seconds:.0f} s)"
        finally:
            shutil.rmtree(folder / "e2e", ignore_errors=True)
        if running.returncode == 0:
            return ""
        found = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
        if running.returncode != 1 or not found:
            sys.exit(f"{output[-3000:]}\nerror: {' '.join(words)} failed")
        return found[0]

    @staticmethod
    def end(running: "subprocess.Popen[str]") -> str:
        """Ends the tests; they end what they have started."""
        running.send_signal(signal.SIGINT)
        try:
            running.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        running.wait()
        return "the tests"
