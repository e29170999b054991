# SPDX-License-Identifier: Apache-2.0
"""The fields of the JSON report and their types, as in docs/report-format.md, and the shape check.

A schema is a dict: field -> kind. A kind is one of the words below, a dict (an object), or a list of
one kind (an array). A kind that ends in '?' may be null. Fields that later versions add are allowed.
"""
from __future__ import annotations

import math
import re
from typing import Any

Schema = dict[str, Any]

FRAME: Schema = {"pc": "hex", "module": "string", "address": "hex", "function": "string", "offset": "count"}


def estimate(name: str) -> Schema:
    """An estimated figure and its 95 % interval, which is null where there are too few samples."""
    return {name: "size", f"{name}_error": "size?", f"{name}_low": "size?", f"{name}_high": "size?"}


FOUR_FIGURES: Schema = {**estimate("live_bytes"), **estimate("live_count"),
                        **estimate("allocated_bytes"), **estimate("allocated_count")}

SITE: Schema = {
    "id": "count", **FOUR_FIGURES, **estimate("resident_bytes"), **estimate("resident_live_bytes"),
    **estimate("hole_bytes"), "samples": "count", "live_samples": "count", "largest_bytes": "size",
    "oldest_ns": "count", "youngest_ns": "count", "mean_age_ns": "count", "stack": [FRAME],
    "growth": {"since_first": "growth?", "since_previous": "growth?"}, **estimate("born_in_last_half_bytes"),
}

DETAIL: Schema = {"name": "string", "function": "string", "allocator": "string", "bytes": "size",
                  "mappings": "count"}

SCHEMA: Schema = {
    "schema_version": "count", "mallard_version": "text", "report_number": "count", "reason": "text",
    "taken_at_ns": "count", "duration_ns": "count",
    "process": {
        "pid": "count", "parent_pid": "count", "name": "text", "executable": "text",
        "command_line": "string", "threads": "count", "uptime_ns": "count",
        "forked_from_recorded_process": "flag",
    },
    "backend": {
        "name": "text", "version": "text", "path": "string", "requested": "text", "served": "flag",
        "bypassed_by": "text?", "statistics": {},
        "takeover": {"state": "text", "allocator": "string", "entry_points": "count", "why": "string"},
    },
    "recording": {
        "mode": "text", "sample_bytes": "size", "since_ns": "count", "since_start": "flag",
        "why_off": "text?", "samples": "count",
        "samples_freed": "count", "samples_live": "count", "sites": "count", "dropped_table_full": "count",
        "overflow_sites": "count", "missed_frees": "count", "reentrant_frees": "count",
        "filter_misses": "count", "skipped_in_snapshot": "count",
        "stacks": {"captured": "count", "by_libunwind": "count", "truncated": "count", "rules": "count",
                   "rules_dropped": "count"},
        "own_bytes": "size",
    },
    "rss": {
        "known": "flag", "source": "string", "total_bytes": "size", "anonymous_bytes": "size",
        "file_bytes": "size",
        "shared_memory_bytes": "size", "lazily_freed_bytes": "size", "huge_page_bytes": "size",
        "locked_bytes": "size", "swapped_bytes": "size",
    },
    "ledger": [{"cause": "text", **estimate("bytes"), "mappings": "count", "details": [DETAIL]}],
    "unexplained_bytes": "signed?",
    "ledger_about": {
        "known": "flag", "why_not": "text?", "divided": "flag", "not_divided_why": "text?",
        "by_pages": "flag", "rounding_known": "flag", "unit": "text?", "residency": "text", "rss_bytes": "size",
        "rss_before_bytes": "size", "rss_after_bytes": "size", "looks": "count",
        "pinned_bytes": "size", "unattributed_bytes": "size", "heap_huge_page_bytes": "size",
        "thread_cached_bytes": "size", "examined": "number", "reads": "count", "raced": "count",
        "uncovered_samples": "count", "scan_ns": "count", "census_ns": "count",
    },
    "embedded_allocators": [{
        "object": "text?", "name": "text", "version": "text?", "recognised_by": "text", "managed_heap": "flag",
        "exports_malloc": "flag", "resident_bytes": "size?", "mapped_bytes": "size?", "brk_bytes": "size",
        "status": "text", "why": "text?", "next_step": "text?", "calls": "count?", "calls_why": "text",
    }],
    "bound_elsewhere": [{"object": "text", "bound_to": "text", "references": "count"}],
    "nobody_saw_bytes": "size",
    "totals": {**FOUR_FIGURES, **estimate("inherited_live_bytes"), "peak_bytes": "size?",
               "temporary_count": "count?", "heap_resident_bytes": "size", "heap_is_bound": "flag"},
    "other_sites": {"sites": "count", "live_bytes": "size", "live_count": "count", "allocated_bytes": "size",
                    "allocated_count": "count", "temporary_count": "count", "resident_bytes": "size",
                    "resident_live_bytes": "size", "hole_bytes": "size"},
    "before_recording": {"live_bytes": "size", "resident_bytes": "size", "hole_bytes": "size"},
    "verdict": {"cause": "text", "text": "text", "evidence": {}, "sites": ["count"], "next_step": "string"},
    "history": {"earlier_reports": "count", "since_first": "change?", "since_previous": "change?"},
    "fragmentation_ratio": "number?", "fragmentation_ratio_low": "number?",
    "fragmentation_ratio_high": "number?",
    "modules": [{"path": "string", "build_id": "string", "begin": "hex", "end": "hex", "load_bias": "hex"}],
    "sites": [SITE],
}

HEX = re.compile(r"0x[0-9a-f]+\Z")


def field_names(schema: Any = None) -> set[str]:
    """Every field name of the schema, at any depth."""
    if isinstance(schema, list):
        return field_names(schema[0])
    if schema is None:
        return field_names(SCHEMA)
    if not isinstance(schema, dict):
        return set()
    return set(schema).union(*(field_names(kind) for kind in schema.values() if not isinstance(kind, str)))


def check_shape(value: Any, kind: Any, where: str) -> list[str]:
    """Every departure of `value` from `kind`, as text."""
    if isinstance(kind, dict):
        return _check_object(value, kind, where)
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{where} is {_type(value)} instead of an array"]
        return [fault for number, item in enumerate(value)
                for fault in check_shape(item, kind[0], f"{where}[{number}]")]
    if kind.endswith("?"):
        return [] if value is None else check_shape(value, kind[:-1], where)
    return [] if _is(kind, value) else [f"{where} is {_shown(value)}, which is no {kind}"]


def _check_object(value: Any, schema: Schema, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is {_type(value)} instead of an object"]
    faults = []
    for name, kind in schema.items():
        if name in value:
            faults += check_shape(value[name], kind, f"{where}.{name}")
        else:
            faults.append(f"{where}.{name} is missing")
    for name in value.keys() - schema.keys():
        faults += _check_unknown(name, value[name], f"{where}.{name}")
    return faults


def _check_unknown(name: str, value: Any, where: str) -> list[str]:
    """Fields without an entry still obey the rules of their names: sizes are non-negative numbers."""
    if name.endswith(("_bytes", "_count", "_ns")) and value is not None and not _is("size", value):
        return [f"{where} is {_shown(value)}, which is no size"]
    return []


def _is(kind: str, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match kind:
        case "text":
            return isinstance(value, str) and value != ""
        case "string":
            return isinstance(value, str)
        case "flag":
            return isinstance(value, bool)
        case "count":
            return isinstance(value, int) and number and value >= 0
        case "signed":
            return isinstance(value, int) and number
        case "size" | "number":
            return number and math.isfinite(value) and 0 <= value < 2**63
        case "change":
            return isinstance(value, dict) and {"ago_ns", "rss_change", "live", "causes"} == value.keys()
        case "growth":
            return isinstance(value, dict) and value["low"] <= value["change"] <= value["high"]
        case "hex":
            return isinstance(value, str) and HEX.match(value) is not None
    raise ValueError(f"unknown kind {kind}")


def _type(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
