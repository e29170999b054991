# SPDX-License-Identifier: Apache-2.0
"""Allocator versions that are here, or that the registries give, divide the heap of a program that knows the truth.

scripts/census-versions measures all of them; here are those of the founding stories, and whatever it has made before."""
from __future__ import annotations

from pathlib import Path

import pytest

from support.framework import Test

from .subjects import Subject, Unavailable
from .versions import SUBJECTS, measure

BROUGHT = ("mimalloc 2.2.4", "mimalloc 3.1.5")
CASES = {"pinned": 24, "exits": 24}


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.name in BROUGHT], ids=lambda s: s.name.replace(" ", "-"))
def test_version(t: Test, subject: Subject, tmp_path: Path) -> None:
    cache = t.build / "census-versions"
    try:
        path = subject.bring(cache)
    except Unavailable as reason:
        t.skip(str(reason))
    measured = measure(subject, path, t.build, tmp_path / "runs", CASES)
    t.check(not measured.complaints(), f"{subject.name}: {'; '.join(measured.complaints())}")
