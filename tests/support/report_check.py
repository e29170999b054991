# SPDX-License-Identifier: Apache-2.0
"""Whether a report says what docs/report-format.md promises, and whether it can be true."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from .backends import Backend
from .framework import Failure

FIGURES = ("live_bytes", "live_count", "allocated_bytes", "allocated_count")
MIB = 2**20
MOST_LOOKS = 4  # that a report takes at the page tables, while the host's memory moves


@dataclass(frozen=True)
class Expected:
    """What the test knows about the process; None, '' and 0 mean: not checked."""
    pid: int | None = None
    backend: Backend | None = None
    executable: str = ""
    rss_span: tuple[int, int] = (0, 0)  # before the report and after it
    min_sites: int = 0
    served: bool = True
    reason: str = ""


def check_report(data: dict[str, Any], text: str, expected: Expected) -> None:
    """Raises Failure with everything that is wrong."""
    wrong = [*_identity(data, expected), *_rss(data, expected), *_sites(data, expected),
             *_totals(data), *_modules(data), *_text(data, text)]
    if wrong:
        raise Failure(f"{len(wrong)} faults in the report: " + "; ".join(wrong[:6]))


def _identity(data: dict[str, Any], expected: Expected) -> list[str]:
    wrong = []
    process, backend = data["process"], data["backend"]
    if data["schema_version"] != 2:
        wrong.append(f"schema_version is {data['schema_version']}")
    if data["reason"] not in ("signal", "exit") or (expected.reason and data["reason"] != expected.reason):
        wrong.append(f"reason is '{data['reason']}' instead of '{expected.reason or 'signal or exit'}'")
    if expected.pid is not None and process["pid"] != expected.pid:
        wrong.append(f"process.pid is {process['pid']} instead of {expected.pid}")
    if process["threads"] < 1:
        wrong.append("process.threads is 0")
    if expected.executable and not _same_file(process["executable"], expected.executable):
        wrong.append(f"process.executable is {process['executable']} instead of {expected.executable}")
    if backend["served"] != expected.served:
        wrong.append(f"backend.served is {backend['served']}; bypassed_by is {backend['bypassed_by']}")
    if expected.backend is not None and expected.served:
        for key, pattern in (("name", expected.backend.served), ("version", expected.backend.version)):
            if not re.search(pattern, backend[key], re.IGNORECASE):
                wrong.append(f"backend.{key} is '{backend[key]}', which does not match '{pattern}'")
        if backend["requested"] != expected.backend.value:
            wrong.append(f"backend.requested is '{backend['requested']}'")
    return wrong


def _same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _rss(data: dict[str, Any], expected: Expected) -> list[str]:
    wrong = ledger_faults(data)
    rss = data["rss"]
    total, anonymous = rss["total_bytes"], rss["anonymous_bytes"]
    if not rss["known"] or total <= 0:
        return [f"rss is unknown: {rss}"]
    least, most = min(expected.rss_span), max(expected.rss_span)
    if least and not 0.7 * least - 24 * MIB <= total <= 1.3 * most + 24 * MIB:
        wrong.append(f"rss.total_bytes is {total}, /proc said {expected.rss_span} before and after")
    parts = anonymous + rss["file_bytes"] + rss["shared_memory_bytes"]
    if abs(parts - total) > 0.02 * total + 2 * MIB:
        wrong.append(f"anonymous + file + shared memory is {parts}, total_bytes is {total}")
    for name in ("lazily_freed_bytes", "huge_page_bytes"):
        if rss[name] > anonymous:
            wrong.append(f"rss.{name} is {rss[name]}, more than anonymous_bytes {anonymous}")
    if data["totals"]["heap_resident_bytes"] > anonymous:
        wrong.append(f"heap_resident_bytes is more than anonymous_bytes {anonymous}")
    if data["recording"]["own_bytes"] > 512 * MIB:
        wrong.append(f"mallard's own memory is {data['recording']['own_bytes']} bytes")
    low, ratio, high = (data["fragmentation_ratio" + end] for end in ("_low", "", "_high"))
    if ratio is not None and not 0 <= ratio < 1e9:
        wrong.append(f"fragmentation_ratio is {ratio}")
    if low is not None and not (ratio is not None and high is not None and low <= ratio <= high):
        wrong.append(f"fragmentation_ratio: not {low} <= {ratio} <= {high}")
    return wrong


CAUSES = ["live", "rounding", "past_mallard", "holes", "retained", "lazily_freed", "metadata", "undivided", "anonymous", "stacks",
          "files", "file_copies", "shared", "own"]


def ledger_faults(data: dict[str, Any]) -> list[str]:
    wrong = []
    lines, about = data["ledger"], data["ledger_about"]
    if not about["known"]:
        return [] if about["why_not"] and not lines else ["the ledger is not known, and does not say why"]
    if [line["cause"] for line in lines] != CAUSES:
        return [f"the ledger's causes are {[line['cause'] for line in lines]}"]
    bytes_of = {line["cause"]: line["bytes"] for line in lines}
    total = sum(bytes_of.values()) + data["unexplained_bytes"]
    if abs(total - about["rss_bytes"]) > 2 * len(lines):
        wrong.append(f"the ledger and the unexplained add up to {total}, not to {about['rss_bytes']}")
    allowed = 0.01 * about["rss_bytes"] + MIB // 2 + abs(about["rss_after_bytes"] - about["rss_before_bytes"])
    if about["looks"] >= MOST_LOOKS:  # the report itself says that at each of them memory moved: a huge page, and more
        allowed += 2 * MIB + 0.03 * about["rss_bytes"]
    if abs(data["unexplained_bytes"]) > allowed:
        wrong.append(f"unexplained_bytes is {data['unexplained_bytes']} of {about['rss_bytes']}, in {about['looks']} "
                     f"looks, the last from {about['rss_before_bytes']} to {about['rss_after_bytes']}")
    if (about["divided"] and bytes_of["undivided"] > 0) or \
            about["divided"] == bool(about["not_divided_why"]):
        wrong.append(f"the heap is divided and not: {about}, {bytes_of}")
    for line in lines:
        parts = sum(detail["bytes"] for detail in line["details"])
        if line["details"] and abs(parts - line["bytes"]) > 1 + data["rss"]["lazily_freed_bytes"]:
            wrong.append(f"ledger: {line['cause']} is {line['bytes']}, its details add up to {parts}")
        wrong += _interval(line, "bytes", f"ledger: {line['cause']}")
    return wrong


def _interval(row: dict[str, Any], figure: str, where: str) -> list[str]:
    value, error, low, high = (row[figure + end] for end in ("", "_error", "_low", "_high"))
    if (low is None) != (high is None) or (low is None) != (error is None):
        return [f"{where}: {figure} has half an interval: {low}, {high}, {error}"]
    if low is not None and not 0 <= low <= value <= high:
        return [f"{where}: {figure}: not 0 <= {low} <= {value} <= {high}"]
    return []


def _sites(data: dict[str, Any], expected: Expected) -> list[str]:
    wrong = []
    sites, recording = data["sites"], data["recording"]
    if recording["samples_freed"] + recording["samples_live"] > recording["samples"]:
        wrong.append(f"{recording['samples_freed']} freed and {recording['samples_live']} live of "
                     f"{recording['samples']} samples")
    if len(sites) < expected.min_sites:
        wrong.append(f"{len(sites)} sites instead of at least {expected.min_sites}")
    if len({site["id"] for site in sites}) != len(sites):
        wrong.append("two sites have the same id")
    if [site["live_bytes"] for site in sites] != sorted((s["live_bytes"] for s in sites), reverse=True):
        wrong.append("sites are not in the order of their live bytes")
    named = 0
    for site in sites:
        where = f"site {site['id']}"
        for figure in (*FIGURES, "resident_bytes", "resident_live_bytes", "hole_bytes"):
            wrong += _interval(site, figure, where)
        if not site["stack"] and not data["recording"]["overflow_sites"]:
            wrong.append(f"{where} has no stack")
        named += any(frame["function"] for frame in site["stack"])
        if site["live_samples"] > site["samples"] and not data["process"]["forked_from_recorded_process"]:
            wrong.append(f"{where}: {site['live_samples']} live of {site['samples']} samples")
        if site["live_samples"] and not site["youngest_ns"] <= site["mean_age_ns"] <= site["oldest_ns"]:
            wrong.append(f"{where}: mean age {site['mean_age_ns']} is not between youngest and oldest")
        if site["oldest_ns"] > data["recording"]["since_ns"] + 10**9 and \
                not data["process"]["forked_from_recorded_process"]:
            wrong.append(f"{where}: a block is older ({site['oldest_ns']} ns) than the recording")
    if expected.min_sites and not named:
        wrong.append("no frame of any site has a function name")
    return wrong


def _totals(data: dict[str, Any]) -> list[str]:
    wrong = []
    for figure in FIGURES:
        wrong += _interval(data["totals"], figure, "totals")
        total, parts = data["totals"][figure], sum(site[figure] for site in data["sites"])
        parts += data["other_sites"][figure]
        # Every site is rounded; sites may move on between two looks at the books.
        if abs(total - parts) > len(data["sites"]) + 1 + 0.02 * total:
            wrong.append(f"totals.{figure} is {total}, the sites add up to {parts}")
    return wrong


def _modules(data: dict[str, Any]) -> list[str]:
    wrong = []
    ranges = [(int(m["begin"], 16), int(m["end"], 16), m["path"]) for m in data["modules"]]
    if not any("libmallard" in path for _, _, path in ranges):
        wrong.append("libmallard.so is not among the modules")
    wrong += [f"module {path} ends before it begins" for begin, end, path in ranges if end <= begin]
    for pc, module in {(frame["pc"], frame["module"]) for site in data["sites"] for frame in site["stack"]}:
        if module and not any(begin <= int(pc, 16) <= end and path == module for begin, end, path in ranges):
            wrong.append(f"pc {pc} is not inside its module {module}")
    return wrong[:4]


def _text(data: dict[str, Any], text: str) -> list[str]:
    wrong = []
    if len(text) < 500:
        wrong.append(f"the text report has {len(text)} characters")
    for what, needle in (("the backend", data["backend"]["name"]), ("its version", data["backend"]["version"]),
                         ("the pid", f"pid {data['process']['pid']}"),
                         ("the executable", data["process"]["name"])):
        if needle not in text:
            wrong.append(f"the text report does not name {what} ({needle})")
    if not re.search(r"\d[\d.,]* ?(B|KiB|MiB|GiB|kB|MB|GB)\b", text):
        wrong.append("the text report shows no size with a unit")
    if re.search(r"(?<![\w:.~])-?(nan|inf)(?![\w:.])|\(null\)", text):
        wrong.append("the text report contains nan, inf or (null)")
    if data["recording"]["mode"] != "off" and "Call sites by live bytes" not in text:
        wrong.append("the text report has no table of call sites")
    if "Where the resident memory is" not in text:
        wrong.append("the text report has no ledger")
    shown = [site for site in data["sites"][:1] if site["live_bytes"] > 0]
    for frame in [frame for site in shown for frame in site["stack"][:1]]:
        if re.fullmatch(r"\w{1,60}", frame["function"]) and frame["function"] not in text:
            wrong.append(f"the text report does not show the first site ({frame['function']})")
    return wrong
