# SPDX-License-Identifier: Apache-2.0
"""Where the tests stand in the tree."""
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
