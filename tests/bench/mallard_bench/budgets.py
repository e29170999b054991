# SPDX-License-Identifier: Apache-2.0
"""What each mode may cost over a direct preload of the same allocator."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import geometric_mean

from .tables import Result

PAIR_INSTRUCTIONS = 16          # sample, added per malloc/free pair
PAIR_TIME = 1.08                # sample, ratio
LIVE_SET_TIME = 1.12            # sample, 100,000 live blocks: the filter's cache misses
OFF_TIME = 1.03                 # off, ratio on the tight pair
EXACT_NS = 70                   # exact, added per pair whose five innermost frames change
PROGRAM_INSTRUCTIONS = 1.01     # sample, each program
PROGRAMS_SAMPLE = 1.01          # sample, geometric mean over the programs
PROGRAMS_EXACT = 1.35           # exact, likewise
PROGRAM_EXACT = {"python3, PYTHONMALLOC=malloc": 2.0, "clang": 1.4}
START_UP_MS = 1.0               # added per process
FORKS = 1.05                    # a script that forks 1,000 times, ratio
HEAPTRACK_ADDS = 1.20           # where it adds more, exact mode has to add this much less of CPU time:
HEAPTRACK_FACTOR = 5


def within(result: Result, limit: float, text: str = "") -> Result:
    return replace(result, budget=text or f"{limit:.2f}", met=result.ratio.middle <= limit)


def judged(result: Result, kind: str) -> Result:
    """\\return the result with its budget, where it has one"""
    pair = result.what in ("pair of 64 B", "new/delete of 64 B", "64 live, 16-512 B", "100k live, 16-512 B")
    if kind == "sample" and pair and result.quantity == "instructions":
        return replace(result, budget=f"+{PAIR_INSTRUCTIONS}", met=result.added <= PAIR_INSTRUCTIONS)
    if kind == "sample" and pair and result.quantity == "time":
        return within(result, LIVE_SET_TIME if result.what.startswith("100k") else PAIR_TIME)
    if kind == "off" and result.what == "pair of 64 B" and result.quantity == "time":
        return within(result, OFF_TIME)
    if kind == "exact" and result.what == "five frames change" and result.quantity == "time":
        return replace(result, budget=f"+{EXACT_NS} ns", met=result.added <= EXACT_NS)
    if kind == "sample" and result.suite == "programs" and result.quantity == "instructions":
        return within(result, PROGRAM_INSTRUCTIONS, f"{PROGRAM_INSTRUCTIONS:.3f}")
    if kind == "exact" and result.suite == "programs" and result.quantity == "time" and result.what in PROGRAM_EXACT:
        return within(result, PROGRAM_EXACT[result.what])
    if kind in ("sample", "exact") and result.what == "/bin/true":
        return replace(result, budget=f"+{START_UP_MS:.0f} ms", met=result.added <= START_UP_MS)
    if kind == "sample" and result.what == "1000 forks" and result.quantity == "time":
        return within(result, FORKS)
    return result


def over_all_programs(results: Sequence[Result]) -> list[str]:
    """Geometric means over the programs, one line for each subject and quantity, with the budget if there is one."""
    means: dict[tuple[str, str], list[float]] = {}
    for r in results:
        if r.suite == "programs":
            means.setdefault((r.subject, r.quantity), []).append(r.ratio.middle)
    lines = []
    for (subject, quantity), ratios in means.items():
        mean, verdict = geometric_mean(ratios), ""
        limit = PROGRAMS_SAMPLE if subject.endswith(" sample") else PROGRAMS_EXACT if subject.endswith(" exact") else 0
        if limit and quantity == "time" and subject.startswith("mallard "):
            verdict = f"  {limit:.2f}: {'met' if mean <= limit else 'MISSED'}"
        lines.append(f"  {subject:32} {quantity:13} {mean:6.3f}  over {len(ratios)} programs{verdict}")
    return lines


def against_heaptrack(results: Sequence[Result]) -> list[str]:
    """Where heaptrack adds more than a fifth: how many times less CPU time exact mode adds on the same allocator. The
    budget is for heaptrack as it is run, with the processes that it starts; its recorder alone is for comparison."""
    lines = []
    exact = {(r.suite, r.what): r for r in results if r.subject == "mallard system exact" and r.quantity == "time"}
    for r in results:
        ours = exact.get((r.suite, r.what))
        if not r.subject.startswith("heaptrack") or r.quantity != "time" or r.ratio.middle <= HEAPTRACK_ADDS or not ours:
            continue
        factor = r.added / ours.added if ours.added > 0 else float("inf")
        met = "" if r.subject != "heaptrack" else "met" if factor >= HEAPTRACK_FACTOR else "MISSED"
        lines.append(f"  {r.what:28} {r.subject:26} {r.ratio.middle:.2f}, exact {ours.ratio.middle:.2f}: "
                     f"{factor:.1f} times less added" + (f"  {HEAPTRACK_FACTOR}: {met}" if met else ""))
    return lines
