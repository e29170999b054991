# SPDX-License-Identifier: Apache-2.0
"""System calls that fail one by one: the short form of scripts/faults, which the whole of docs/reliability.md takes minutes for."""
from __future__ import annotations

import re
import subprocess
import sys

from support.framework import REPOSITORY, Test


def test_the_host_survives(t: Test) -> None:
    probe = subprocess.run([sys.executable, REPOSITORY / "scripts" / "faults", "--build", t.build, "--backends", "system",
                            "--modes", "sample", "--most", "17", "--step", "8"], capture_output=True, text=True, check=False)
    if "fail_nth: seccomp" in probe.stderr + probe.stdout:
        t.skip("no seccomp listener is permitted here")
    t.check(probe.returncode == 0, f"{probe.stdout[-1500:]}{probe.stderr[-500:]}")
    failed = re.search(r"(\d+) calls failed, 0 hosts did not survive", probe.stdout)
    t.check(failed and int(failed.group(1)) >= 15, f"hardly a call failed: {probe.stdout[-300:]}")
