# SPDX-License-Identifier: Apache-2.0
"""Variables that are misspelt, and those that contradict each other: one line each, once in a run."""
from __future__ import annotations

from support.framework import Test
from support.idle import mallard_lines


def lines(t: Test, *command: str, **env: str) -> list[str]:
    done = t.run(command or ["/bin/true"], t.preload_env(**env), label="odd")
    return mallard_lines(done.stderr)


def test_misspelt(t: Test) -> None:
    for wrong, right in (("ALLOC_BACKENDS", "ALLOC_BACKEND"), ("ALLOC_MOD", "ALLOC_MODE"),
                         ("ALLOC_SAMPLE_BYTE", "ALLOC_SAMPLE_BYTES"), ("ALLOC_SIGNALS", "ALLOC_SIGNAL"),
                         ("ALLOC_SAMPLE", "ALLOC_SAMPLE_BYTES"), ("ALLOC_SINGAL", "ALLOC_SIGNAL")):
        t.equal(lines(t, **{wrong: "1"}), [f"mallard: warning: {wrong} is no variable of mallard; {right} is"], wrong)


def test_variables_of_others(t: Test) -> None:
    t.equal(lines(t, ALLOC_STARTED="1", ALLOC_TRACKER_LOG="x", ALLOC_="y", ALLOC_ARENAS_OF_MY_OWN="2", ALLOCATE="3"), [],
            "lines about variables that are no misspelling")


def test_contradictions(t: Test) -> None:
    for env, words in (({"ALLOC_SIGNAL": "none", "ALLOC_INTERVAL": "10s"}, "ALLOC_INTERVAL has no effect: ALLOC_SIGNAL"),
                       ({"ALLOC_SIGNAL": "none", "ALLOC_PROBE": "purge"}, "ALLOC_PROBE=purge has no effect: ALLOC_SIGNAL"),
                       ({"ALLOC_MODE": "off", "ALLOC_SAMPLE_BYTES": "1M"}, "ALLOC_SAMPLE_BYTES has no effect: ALLOC_MODE")):
        found = lines(t, **env)
        t.check(len(found) == 1 and found[0].startswith(f"mallard: warning: {words}"), f"{env}: {found}")
        t.equal(lines(t, **dict([list(env.items())[1]])), [], f"lines about {list(env)[1]} alone")


def test_once_in_a_run(t: Test) -> None:
    """A shell that starts two programs is told once, by the preload alone as well as by `mallard run`."""
    script = "/bin/true; /bin/true; :"
    t.equal(len(lines(t, "/bin/sh", "-c", script, ALLOC_BACKENDS="1")), 1, "lines of the preload")
    run = [str(t.build / "mallard"), "run", "--", "/bin/sh", "-c", script]
    done = t.run(run, t.plain_env(ALLOC_BACKENDS="1"))
    t.equal(len(mallard_lines(done.stderr)), 1, "lines of mallard run")
