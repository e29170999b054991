# SPDX-License-Identifier: Apache-2.0
"""JSON reports against docs/report.schema.json, and reports as tests like to read them.

`faults_of(report)` lists every departure, fields that the schema does not name among them. `expanded(report)` is the
report with frames in place of the indices of each stack and paths in place of the indices of each frame's module.
"""
from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "report.schema.json"
SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
MOST_FAULTS = 20


LONG = 48
"""Elements of a list: more are looked at in part, the first, the last, some between, and the first of each shape. A suite reads thousands of
reports, and jsonschema takes most of a minute for the 200,000 sites of one."""


def _shape(value: Any) -> Any:
    return tuple((name, type(item).__name__) for name, item in value.items()) if isinstance(value, dict) else type(value)


def _thinned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _thinned(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > LONG:
        chosen = {i * (len(value) - 1) // (LONG - 1) for i in range(LONG)}
        first_of_shape = {_shape(item): i for i, item in reversed([*enumerate(value)])}
        value = [value[i] for i in sorted(chosen | set(first_of_shape.values()))]
    return [_thinned(item) for item in value]


def faults_of(report: Any, most: int = MOST_FAULTS, thinned: bool = True) -> list[str]:
    """Where the report departs from the schema, as sentences; empty if it does not.
    @param thinned  long lists are looked at in part"""
    read = _thinned(report) if thinned else report
    faults = []
    for error in Draft202012Validator(SCHEMA).iter_errors(read):
        faults.append(f"{error.json_path}: {error.message[:200]}")
        if len(faults) == most:
            return faults
    return faults or [*_unnamed(read, SCHEMA, "$"), *_dangling(report)][:most]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _unnamed(value: Any, schema: dict[str, Any], where: str) -> list[str]:
    """Fields that the schema does not describe: it lets them pass, for the readers of later versions."""
    schema = _resolved(schema)
    if isinstance(value, list):
        return [fault for i, item in enumerate(value) for fault in _unnamed(item, schema["items"], f"{where}[{i}]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    faults = [f"{where}.{name} is not in the schema" for name in value
              if name not in known and name.rpartition("_")[0] not in known]
    return faults + [fault for name in value.keys() & known.keys()
                     for fault in _unnamed(value[name], known[name], f"{where}.{name}")]


def _dangling(report: dict[str, Any]) -> list[str]:
    """Indices that point past the tables of frames and modules."""
    frames, modules = len(report["frames"]), len(report["modules"])
    used = [i for site in report["sites"] for i in site["stack"]]
    used += [detail["frame"] for line in report["ledger"] for detail in line["details"] if detail["frame"] is not None]
    faults = [f"there is no frame {i}" for i in used if i >= frames]
    return faults + [f"there is no module {frame['module']}" for frame in report["frames"]
                     if frame["module"] is not None and frame["module"] >= modules]


def expanded(report: dict[str, Any]) -> dict[str, Any]:
    """A copy in which each stack carries its frames and each frame the path of its module, empty if it has none."""
    out = {name: value for name, value in report.items() if name not in ("frames", "sites", "ledger")}
    paths = [module["path"] for module in report["modules"]]
    frames = [frame | {"module": "" if frame["module"] is None else paths[frame["module"]]}
              for frame in report["frames"]]
    out["frames"] = frames
    out["sites"] = [site | {"stack": [dict(frames[i]) for i in site["stack"]]} for site in report["sites"]]
    out["ledger"] = copy.deepcopy(report["ledger"])
    for line in out["ledger"]:
        for detail in line["details"]:
            detail["function"] = "" if detail["frame"] is None else frames[detail["frame"]]["function"]
    return out


def field_names(schema: dict[str, Any] | None = None) -> set[str]:
    """Every field that the schema names, at any depth, without the companions of estimates."""
    schema = _resolved(SCHEMA if schema is None else schema)
    names: set[str] = set(schema.get("properties", {}))
    for inner in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        names |= field_names(inner)
    return names


def main() -> int:
    """Checks the reports that are named on the command line."""
    wrong = 0
    for name in sys.argv[1:]:
        for fault in faults_of(json.loads(Path(name).read_text(encoding="utf-8")), thinned=False):
            print(f"{name}: {fault}")
            wrong += 1
    print(f"{len(sys.argv) - 1} reports, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
