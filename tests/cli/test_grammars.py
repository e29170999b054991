# SPDX-License-Identifier: Apache-2.0
"""Values of ALLOC_* variables and of --fail-on, made up by hypothesis: what is accepted is what the manuals say."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from .test_golden_outputs import DATA

REFUSED, USAGE = 78, 2
made_up = settings(max_examples=150, deadline=None, database=None, derandomize=True)

DIGITS = st.integers(0, 10**21).map(str) | st.integers(0, 2000).map(str) | st.just("00") | st.just("")
# Near to what is meant, and anything else that an environment can hold.
ANYTHING = st.text(st.characters(min_codepoint=1, max_codepoint=0x7E), max_size=12)
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
TIMES_NS = {"": 10**9, "s": 10**9, "ms": 10**6, "m": 60 * 10**9, "h": 3600 * 10**9}
SHORTEST_NS, LONGEST_NS = 10 * 10**6, 366 * 24 * 3600 * 10**9


def size_of(text: str) -> int | None:
    """A number of bytes, or with K, M, G or T, that 64 bits hold."""
    found = re.fullmatch(r"([0-9]+)([kmgtKMGT]?)", text)
    value = int(found[1]) * UNITS[found[2].lower()] if found else 1 << 64
    return value if value < 1 << 64 else None


def is_sample_bytes(text: str) -> bool:
    size = size_of(text)
    return size is not None and 1 <= size <= 1 << 40


def is_interval(text: str) -> bool:
    found = re.fullmatch(r"([0-9]+)(ms|s|m|h|)", text)
    if not found:
        return False
    time = int(found[1]) * TIMES_NS[found[2]]
    return time == 0 or SHORTEST_NS <= time <= LONGEST_NS


def is_accepted(library: Path, variable: str, value: str) -> bool:
    """Starts a program that refuses to start with a value that cannot be used, and says which."""
    environment = {"LD_PRELOAD": str(library), "ALLOC_STRICT": "1", variable: value}
    done = subprocess.run(["/bin/true"], env=environment, capture_output=True, text=True, errors="replace", timeout=240)
    assert done.returncode in (0, REFUSED), f"{variable}={value!r}: status {done.returncode}, {done.stderr!r}"
    if done.returncode == REFUSED:
        assert f"mallard: error: {variable}" in done.stderr, f"{value!r}: {done.stderr!r}"
    else:
        assert done.stderr == "", f"{variable}={value!r}: {done.stderr!r}"
    return done.returncode == 0


@made_up
@given(st.builds(str.__add__, DIGITS, st.sampled_from([*UNITS, "K", "M", "G", "T", "KB", "kk", " ", "-"])) | ANYTHING)
@example("1T")
@example("1025G")
@example("18446744073709551616")
@example("17592186044416T")
def test_sizes(library: Path, value: str) -> None:
    # An empty variable is as good as none.
    assert is_accepted(library, "ALLOC_SAMPLE_BYTES", value) == (value == "" or is_sample_bytes(value))


@made_up
@given(st.builds(str.__add__, DIGITS, st.sampled_from([*TIMES_NS, "S", "us", "d", "m5s", " ms"])) | ANYTHING)
@example("9ms")
@example("10ms")
@example("8784h")
@example("8785h")
@example("0h")
def test_durations(library: Path, value: str) -> None:
    assert is_accepted(library, "ALLOC_INTERVAL", value) == (value == "" or is_interval(value))


WORDS = {"ALLOC_MODE": ("sample", "exact", "off"), "ALLOC_PROBE": ("none", "purge"),
         "ALLOC_EMBEDDED": ("report", "redirect"), "ALLOC_CONTROL": ("0", "1"), "ALLOC_VERBOSE": ("0",)}


@made_up
@given(st.sampled_from(sorted(WORDS)).flatmap(lambda variable: st.tuples(
    st.just(variable),
    st.sampled_from(WORDS[variable]) | st.sampled_from([word for words in WORDS.values() for word in words]).flatmap(
        lambda word: st.sampled_from([word, word.upper(), word + " ", word[:-1], word * 2])) | ANYTHING)))
def test_words(library: Path, setting: tuple[str, str]) -> None:
    variable, value = setting
    if (variable, value) != ("ALLOC_VERBOSE", "1"):  # which has something to say
        assert is_accepted(library, variable, value) == (value == "" or value in WORDS[variable])


# ---- --fail-on
VERDICTS = ("any", "leak", "external_fragmentation", "retention", "lazily_freed", "second_allocator", "mapped_files",
            "stacks")
CAUSES = ("live", "rounding", "past_mallard", "holes", "retained", "lazily_freed", "metadata", "undivided", "anonymous", "stacks",
          "files", "file_copies", "shared", "own")
SITE_FIGURES = ("resident", "holes", "live", "allocated", "count")
FIGURES = ("rss", "unexplained", *CAUSES, *(f"site.{name}" for name in SITE_FIGURES))


def is_number(text: str) -> bool:
    return len(text) <= 15 and re.fullmatch(r"[0-9]+(\.[0-9]*)?", text) is not None


def is_condition(text: str) -> bool:
    figure, found, bound = text.partition(">")
    if not found:
        return text in VERDICTS
    if figure not in FIGURES:
        return False
    if bound.endswith("%"):
        return figure not in ("rss", "site.count") and is_number(bound[:-1])
    return is_number(bound) if figure == "site.count" else size_of(bound) is not None


def are_conditions(text: str) -> bool:
    """Conditions with one comma between them; an empty one is none, at the end as well."""
    return all(is_condition(part) for part in text.split(","))


BOUND = st.builds(str.__add__, DIGITS | st.sampled_from(["1.5", ".5", "5.", "1.2.3", "+1", "-1", "1e9", " 1"]),
                  st.sampled_from(["", "K", "M", "g", "T", "%", "MB", "KiB", "%%"]))
CONDITION = st.sampled_from(VERDICTS) | st.builds("{}>{}".format, st.sampled_from(FIGURES), BOUND) | \
    st.builds("{}{}{}".format, st.sampled_from([*FIGURES, "site.", "site.size", "Leak", "leaks"]),
              st.sampled_from(["", ">", ">=", "<", " >"]), BOUND)


@made_up
@given(st.lists(CONDITION, min_size=1, max_size=3).map(",".join))
@example("leak,")
@example(",leak")
@example("leak,,any")
@example("site.count>5M")
@example("live>18446744073709551615")
@example("live>16777216T")
def test_fail_on(mallard: Path, conditions: str) -> None:
    done = subprocess.run([mallard, "report", "--fail-on", conditions, "after.json"], cwd=DATA, capture_output=True,
                          text=True, timeout=240)
    assert done.returncode in (0, 1, 2, 3), f"{conditions!r}: status {done.returncode}, {done.stderr!r}"
    said = done.stderr
    assert (done.returncode != USAGE) == are_conditions(conditions), f"{conditions!r}: status {done.returncode}, {said!r}"
    if done.returncode == USAGE:
        assert said.startswith("mallard: error: --fail-on '") and "\nmallard: hint: " in said and not done.stdout, said
    if done.returncode == 1:
        assert "mallard: finding: " in said, said
