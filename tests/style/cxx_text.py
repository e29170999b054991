# SPDX-License-Identifier: Apache-2.0
"""Reads C++ as text: its comments, and its code without comments, strings and preprocessor lines."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PRODUCT = ("base", "arch", "elf", "symbols", "unwind", "record", "heaps", "backends", "inside", "report", "interpose", "attach",
           "cli")
TOKEN = re.compile(r"""
    (?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
  | (?P<raw>(?:u8|[uUL])?R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)")
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<character>(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+')
  | (?P<directive>^[ \t]*\#(?:\\\n|[^\n])*)
""", re.VERBOSE | re.DOTALL | re.MULTILINE)
# What may stand between the parameters of a function and its body, or before a block that is none.
CONTROL = re.compile(r"\b(?:if|for|while|switch|catch|do|else|try|return)\s*(?:constexpr\s*)?(?:\(.*\))?\s*$", re.DOTALL)
TYPE_OR_SPACE = re.compile(
    r"^(?:(?:template\s*<.*>|inline|typedef|static|constexpr|constinit|const|export|MALLARD_\w+|alignas\s*\([^)]*\)|"
    r"\[\[.*?\]\])\s*)*(?:(?:namespace|class|struct|union|enum|requires)\b|extern\s*\"\")", re.DOTALL)


@dataclass(frozen=True)
class Function:
    name: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1


def product_files(root: Path, suffixes: set[str]) -> list[Path]:
    return [path for room in PRODUCT for path in sorted((root / room).rglob("*"))
            if path.suffix in suffixes and "node_modules" not in path.parts]


def without_text(source: str) -> str:
    """The code; whatever a brace in it would not be a brace is blank, lines stay where they are."""
    def blank(found: re.Match[str]) -> str:
        lines = re.sub(r"[^\n]", " ", found.group(0))
        return '""' + lines[2:] if found.group("string") else lines
    return TOKEN.sub(blank, source)


def matching(code: str, begin: int) -> int:
    """The index of the brace that closes the one at `begin`."""
    depth = 0
    for found in re.compile("[{}]").finditer(code, begin):
        depth += 1 if found.group(0) == "{" else -1
        if depth == 0:
            return found.start()
    raise ValueError(f"brace at {begin} is never closed")


def opens_function(head: str) -> bool:
    """Whether the text before a brace, since the last declaration, is that of a function or a lambda."""
    head = head.strip()
    returns_type = re.match(r"(?:MALLARD_\w+\s+|static\s+|inline\s+)*(?:struct|class|union|enum)\s+\w+[\s*&]+\w+\s*\(", head)
    if "(" not in head or (TYPE_OR_SPACE.match(head) and not returns_type) or CONTROL.search(head):
        return False
    # Behind the last parenthesis: nothing, or words such as const, noexcept, override, -> Type; or initialisers.
    if re.search(r"(?<!:):(?!:)", head) and re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", head):
        return head[-1] in ")}"
    last = head[head.rindex(")") + 1:] if ")" in head else ""
    if not re.fullmatch(r"(?:\s|const|noexcept|override|final|mutable|&&?|MALLARD_\w+|\[\[[^\]]*\]\]|->[\w\s:<>,*&]*)*", last):
        return False
    return "=" not in re.sub(r"\(.*\)|operator\s*\S+|<.*>|\[.*?\]", "", head, flags=re.DOTALL) or "[" in head


def name_of(head: str) -> str:
    found = re.search(r"((?:\w+::)*(?:operator\s*[^\s(]+|~?\w+))\s*\(", head.strip())
    return found.group(1) if found else "lambda"


def functions_of(source: str) -> Iterator[Function]:
    """Functions outside of functions; lambdas and local types belong to the function that they are in."""
    code = without_text(source)
    at = start = 0
    brace = re.compile("[{};]")
    while found := brace.search(code, at):
        at = found.end()
        if found.group(0) != "{":
            start = at
            continue
        head = code[start:found.start()]
        if opens_function(head):
            end = matching(code, found.start())
            first = start + len(head) - len(head.lstrip())
            yield Function(name_of(head), code.count("\n", 0, first) + 1, code.count("\n", 0, end) + 1)
            at = start = end + 1
        elif re.search(r"[\w>\])]\s*$|[=(,]\s*$", head) and not TYPE_OR_SPACE.match(head.strip()):
            at = matching(code, found.start()) + 1  # a list of initial values: it ends no declaration
        else:
            start = at


def comments_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each comment that stands on lines of its own, with the marks taken off."""
    lines = source.splitlines()
    block: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        found = re.match(r"\s*//[/!]?<? ?(.*)$", line)
        if found:
            block.append(found.group(1))
        elif block:
            yield number - len(block), "\n".join(block)
            block = []
    for found in re.finditer(r"^[ \t]*/\*(.*?)\*/", source, re.DOTALL | re.MULTILINE):
        yield source.count("\n", 0, found.start()) + 1, re.sub(r"^\s*\* ?", "", found.group(1), flags=re.MULTILINE).strip()
