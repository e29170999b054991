# SPDX-License-Identifier: Apache-2.0
"""ALLOC_INTERVAL: reports come by themselves, and the program sleeps on."""
from __future__ import annotations

from pathlib import Path

from .control import library
from .harness import Failure, Test
from .waits import KINDS
from .waits import SOURCE as WAITS

# The first thread sleeps, three times 1 s; the other one works, if there is one. Prints how many sleeps ended early.
SLEEPER = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static volatile int done;
static void* work(void* unused) {
  while (!done) free(malloc(1000));
  return unused;
}
int main(int count, char** arguments) {
  (void)arguments;
  puts("up");
  fflush(stdout);
  pthread_t worker;
  if (count > 1 && pthread_create(&worker, NULL, work, NULL) != 0) return 1;
  int early = 0;
  for (int n = 0; n < 3; n++) {
    const struct timespec second = {1, 0};
    early += nanosleep(&second, NULL) != 0;
  }
  done = 1;
  if (count > 1) pthread_join(worker, NULL);
  for (const clock_t end = clock() + CLOCKS_PER_SEC / 2; clock() < end;)
    for (volatile int n = 0; n < 1000000; n++) {
    }
  printf("%d\n", early);
  return 0;
}
"""


def variables(t: Test, interval: str) -> dict[str, str]:
    return {"LD_PRELOAD": library(t), "ALLOC_INTERVAL": interval, "ALLOC_REPORT": str(t.dir / "report.%p.%n")}


def reports_of(folder: Path, pid: int) -> list[Path]:
    return sorted(folder.glob(f"*.{pid}.*.json"))


def test_no_wait_ends_early(t: Test) -> None:
    program = t.compile("waits", "-pthread", source=WAITS)
    processes = {kind: t.start(program, kind, env=variables(t, "400ms")) for kind in KINDS}
    plain = {kind: t.start(program, kind) for kind in KINDS}
    said = {kind: process.communicate()[0].decode() for kind, process in processes.items()}
    expected = {kind: process.communicate()[0].decode() for kind, process in plain.items()}
    if said != expected or any("EARLY" in words for words in said.values()):
        raise Failure("; ".join(f"{k}: {said[k]!r}, bare {expected[k]!r}" for k in KINDS if said[k] != expected[k]))


def test_reports_of_one_thread_and_of_two(t: Test) -> None:
    """Of one thread a report comes once it runs again; beside a second one that works the first sleeps on. Before Linux 6.4
    the kernel may hand it the one signal that finds out that there are two."""
    program = t.compile("sleeper", "-pthread", source=SLEEPER)
    for arguments, least, most_early in (((), 1, 0), (("worker",), 5, 1)):
        process = t.start(program, *arguments, env=variables(t, "400ms"))
        ended_early = int(process.communicate()[0])
        found = len(reports_of(t.dir, process.pid))
        if ended_early > most_early or process.returncode != 0:
            raise Failure(f"{arguments}: status {process.returncode}, {ended_early} sleeps ended early")
        if found < least:
            raise Failure(f"{arguments}: {found} reports, expected at least {least}")
