# SPDX-License-Identifier: Apache-2.0
"""Marks of test functions, as decorators: which backends a test runs under, and whose fault a failure may be."""
from __future__ import annotations

import pytest

from .framework import ALL


def backends(*names: str) -> pytest.MarkDecorator:
    """Runs the test once under each of these backends."""
    return pytest.mark.parametrize("backend", names, indirect=True)


every_backend = backends(*ALL)


def again(**faults: str) -> pytest.MarkDecorator:
    """Faults, by backend, are regular expressions for failures that are known to be that backend's own, with or
    without mallard: such a test is run once more, and the summary says so."""
    return pytest.mark.again(**faults)


extra = pytest.mark.extra
"""More of what a shorter test shows already, for which CI has no time: runs with --extra."""


def group(name: str) -> pytest.MarkDecorator:
    """Tests of one group run one after the other, because they share something that is made once."""
    return pytest.mark.xdist_group(name)
