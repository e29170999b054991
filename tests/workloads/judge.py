# SPDX-License-Identifier: Apache-2.0
"""Holds one report against what the program knows. Everything here returns figures or a list of complaints."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

UNEXPLAINED_SHARE = 0.005   # of Rss; the promise for test programs
REAL_UNEXPLAINED_SHARE = 0.01
PROMISED_COVERAGE = 0.93
# How far an estimated line may be from the truth, in half-widths of its own 95 % interval: some 200 lines are looked
# at in one run of all tests, and 3.3 standard errors are exceeded once in a thousand.
HALF_WIDTHS = 3.3 / 1.96
ESTIMATED = ("live", "rounding", "holes")


def unexplained_share(report: dict[str, Any]) -> float:
    return abs(report["unexplained_bytes"]) / max(1, report["rss"]["total_bytes"])


def close_complaints(report: dict[str, Any], most: float = UNEXPLAINED_SHARE) -> list[str]:
    """Does the ledger add up, and to what the kernel says?"""
    wrong = []
    about = report["ledger_about"]
    if not about["known"] or not about["divided"]:
        return [f"no ledger: {about['why_not'] or about['not_divided_why']}"]
    lines = sum(line["bytes"] for line in report["ledger"])
    rss = lines + report["unexplained_bytes"]
    if unexplained_share(report) > most:
        wrong.append(f"{report['unexplained_bytes']} bytes are unexplained, {100 * unexplained_share(report):.2f} % "
                     f"of Rss")
    if abs(rss - report["rss"]["total_bytes"]) > most * rss + (1 << 20):
        wrong.append(f"the lines and the rest sum to {rss}, Rss is {report['rss']['total_bytes']}")
    return wrong


def bytes_of(report: dict[str, Any], cause: str, detail: str) -> tuple[int, int, int]:
    """Of a cause, or of the lines below it whose name or allocator contains `detail`: estimate, low, high."""
    if cause == "huge":
        return (report["ledger_about"]["heap_huge_page_bytes"],) * 3
    line = next((line for line in report["ledger"] if line["cause"] == cause), {"bytes": 0})
    if detail:
        part = sum(item["bytes"] for item in line.get("details", ())
                   if detail in item["name"] or detail in (item["allocator"] or ""))
        return part, part, part
    value = line["bytes"]
    low, high = line.get("bytes_low"), line.get("bytes_high")
    return value, value if low is None else low, value if high is None else high


def cause_complaints(report: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """Is every cause that the program knows of as large as it should be?"""
    wrong = []
    for expected in truth["causes"]:
        cause, true, slack = expected["cause"], expected["bytes"], expected["slack"]
        value, low, high = bytes_of(report, cause, expected["detail"])
        if cause in ESTIMATED:
            low, high = value - HALF_WIDTHS * (value - low), value + HALF_WIDTHS * (high - value)
        if not low - slack <= true <= high + slack:
            name = f"{cause} ({expected['detail']})" if expected["detail"] else cause
            wrong.append(f"{name}: {value / 1e6:.2f} MB ({low / 1e6:.2f} to {high / 1e6:.2f}), in truth "
                         f"{true / 1e6:.2f} +- {slack / 1e6:.2f}")
    return wrong


def verdict_complaints(report: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    said = report["verdict"]["cause"]
    if truth["verdicts"] and said not in truth["verdicts"]:
        return [f"verdict {said} instead of {' or '.join(truth['verdicts'])}: {report['verdict']['text']}"]
    return []


def sites_by_function(report: dict[str, Any], truth: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the report by the site function that is next to malloc; '' for all others."""
    found: dict[str, list[dict[str, Any]]] = {}
    for site in report["sites"]:
        names = [frame["function"] for frame in site["stack"][:3] if frame["function"] in truth["sites"]]
        found.setdefault(names[0] if names else "", []).append(site)
    return found


def top_resident_function(report: dict[str, Any], truth: dict[str, Any]) -> str:
    """Who leads the list by resident memory."""
    rows = {name: max(site["resident_bytes"] for site in sites)
            for name, sites in sites_by_function(report, truth).items()}
    return max(rows, key=lambda name: rows[name]) if rows else ""


@dataclass
class SiteTally:
    """Seeded runs of one program on one backend: how good are the estimates of resident memory by site?"""
    runs: int = 0
    intervals: int = 0
    inside: int = 0
    below: int = 0               # the truth was below the interval
    misplaced: float = 0         # shares of resident bytes on a wrong site, summed over the runs
    naive_misplaced: float = 0   # the same when residency is divided by live bytes
    led: int = 0                 # runs in which the truly largest site leads the list
    total_error: float = 0       # estimate / truth - 1 of all sites together, summed
    worst_unexplained: float = 0
    by_site: dict[str, list[int]] = field(default_factory=dict)    # intervals, of these inside

    def add(self, report: dict[str, Any], truth: dict[str, Any]) -> None:
        found = sites_by_function(report, truth)
        true_total = sum(site["resident_bytes"] for site in truth["sites"].values())
        live_total = sum(site["live_bytes"] for site in report["sites"]) or 1
        estimates, error, naive = 0.0, 0.0, 0.0
        for name, true in truth["sites"].items():
            rows = found.get(name, [])
            estimate = sum(row["resident_bytes"] for row in rows)
            live = sum(row["live_bytes"] for row in rows)
            estimates += estimate
            error += abs(estimate - true["resident_bytes"])
            naive += abs(true_total * live / live_total - true["resident_bytes"])
            if len(rows) == 1 and rows[0]["resident_bytes_low"] is not None:
                self._count_interval(name, rows[0], true["resident_bytes"])
        others = sum(row["resident_bytes"] for row in found.get("", []))
        self.runs += 1
        self.misplaced += (error + others) / 2 / true_total
        self.naive_misplaced += naive / 2 / true_total
        self.total_error += estimates / true_total - 1
        largest = max(truth["sites"], key=lambda name: truth["sites"][name]["resident_bytes"])
        self.led += top_resident_function(report, truth) == largest

    def _count_interval(self, name: str, row: dict[str, Any], true: int) -> None:
        # A page at each end of a large block is a matter of definition.
        slack = 0.002 * true + 4096
        inside = row["resident_bytes_low"] - slack <= true <= row["resident_bytes_high"] + slack
        self.intervals += 1
        self.inside += inside
        self.below += true < row["resident_bytes_low"] - slack
        counts = self.by_site.setdefault(name, [0, 0])
        counts[0] += 1
        counts[1] += inside

    @property
    def coverage(self) -> float:
        return self.inside / self.intervals if self.intervals else math.nan

    def sentence(self) -> str:
        return (f"{self.runs} runs: {100 * self.coverage:.1f} % of {self.intervals} intervals hold the truth (below "
                f"{self.below}); on a wrong site {100 * self.misplaced / self.runs:.2f} %, by live bytes it would be "
                f"{100 * self.naive_misplaced / self.runs:.1f} %; all sites together "
                f"{100 * self.total_error / self.runs:+.2f} %; right leader in {self.led}")


def least_inside(intervals: int, chance: float = PROMISED_COVERAGE, doubt: float = 0.001) -> int:
    """How many of `intervals` hold the truth at least, except with probability `doubt`, if each does with `chance`."""
    sum_so_far = 0.0
    for k in range(intervals + 1):
        log_term = (math.lgamma(intervals + 1) - math.lgamma(k + 1) - math.lgamma(intervals - k + 1)
                    + k * math.log(chance) + (intervals - k) * math.log(1 - chance))
        sum_so_far += math.exp(log_term)
        if sum_so_far > doubt:
            return k
    return intervals
