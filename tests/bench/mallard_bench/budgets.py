# SPDX-License-Identifier: Apache-2.0
"""What sample mode may cost over a direct preload of the same allocator."""
from __future__ import annotations

from dataclasses import replace

from .tables import Result

PAIR_INSTRUCTIONS = 16   # added per malloc/free pair
PAIR_TIME = 1.10         # ratio
PROGRAM_INSTRUCTIONS = 1.015
START_UP_MS = 1.0        # added per process


def judged(result: Result) -> Result:
    if result.suite == "micro" and result.quantity == "instructions":
        return replace(result, budget=f"+{PAIR_INSTRUCTIONS}", met=result.added <= PAIR_INSTRUCTIONS)
    if result.suite == "micro":
        return replace(result, budget=f"{PAIR_TIME:.2f}", met=result.ratio.middle <= PAIR_TIME)
    if result.suite == "programs" and result.quantity == "instructions":
        return replace(result, budget=f"{PROGRAM_INSTRUCTIONS:.3f}",
                       met=result.ratio.middle <= PROGRAM_INSTRUCTIONS)
    if result.suite == "start-up":
        return replace(result, budget=f"+{START_UP_MS:.0f} ms", met=result.added <= START_UP_MS)
    return result
