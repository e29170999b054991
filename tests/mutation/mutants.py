# SPDX-License-Identifier: Apache-2.0
"""Mutants of a text: all ways to break one of its lines, and those of them that tests/mutants.txt explains."""
import random
import re
from collections import Counter
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = ROOT / "tests/mutants.txt"


class Mutant(NamedTuple):
    path: str      # relative to the root
    line: int      # counted from 1
    what: str
    before: str    # the line without its indentation
    after: str
    text: str      # of the whole file


SWAPS = [(" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" == ", " != "), (" != ", " == "),
         (" && ", " || "), (" || ", " && "), (" + ", " - "), (" - ", " + "), (" += ", " -= "), (" -= ", " += "),
         (" * ", " / "), (" / ", " * "), ("++", "--"), ("--", "++"), ("min(", "max("), ("max(", "min("),
         ("true", "false"), ("false", "true")]
NOT_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'""", re.S)
INTEGER = re.compile(r"(?<![\w.'])(0x[0-9a-fA-F']+|[0-9][0-9']*)(?=[uUlL]*(?![\w.']))")
STATEMENT = re.compile(r"(?:\*|\+\+|--|\(void\))?[\w:.\->\[\]()*]+(?: (?:[-+*/|&^]|<<|>>)?= |\(|\+\+;|--;).*;$|(?:break|continue);$")
ROOM = re.compile(r"\.array<[^;()]*>\(")
ARRAY = re.compile(r"\s*(?!return|delete|auto|const auto)(?:(?:static|constinit|const|unsigned|alignas\(\w+\)) )*[\w:]+(?:<[^>]*>)? [^()]*\[[^()]*;$")
ORDER = re.compile(r"\breturn (\w+)((?:[.\[(][^ ]*)?) < (?!\1\b)(\w+)\2; }")
DECLARES = re.compile(r"(?:return|if|for|while|switch|using|static_assert|case|delete|throw)\b")


def code_only(text: str) -> str:
    """The text with comments and what stands in quotes blanked out, at the same length."""
    return NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " " if m[0][0] == "/" else "_", m[0]), text)


def closing(line: str, at: int) -> int:
    """The index behind the parenthesis that closes the one at `at`, or 0."""
    depth = 0
    for i in range(at, len(line)):
        depth += {"(": 1, ")": -1}.get(line[i], 0)
        if depth == 0:
            return i + 1
    return 0


def changes(code: str, previous: str) -> Iterator[tuple[int, int, str, str]]:
    """Ways to break a line: from, to, the new text, what it is called. `previous` is the code line before it."""
    if re.match(r"\s*(#|static_assert|namespace|template|using|inline constexpr int kTest)", code):
        return
    for old, new in SWAPS:
        if old == " < " and ORDER.search(code):
            continue  # the order of what is never equal
        for found in re.finditer(r"(?<![\w])" + re.escape(old) + r"(?![\w])" if old[0].isalpha() and old[-1] != "("
                                 else (r"(?<!\w)" if old[0].isalpha() else "") + re.escape(old), code):
            yield found.start(), found.end(), new, f"{old.strip()} becomes {new.strip()}"
    for found in INTEGER.finditer(code):
        if any(room.start() < found.start() < closing(code, room.end() - 1) for room in ROOM.finditer(code)) or (
                ARRAY.match(code) and code[found.start() - 1] == "["):
            continue  # one element more than there is use for
        digits = found[1].replace("'", "")
        if len(digits) > 10 and digits.startswith("0x"):
            continue  # a multiplier of a hash function: its neighbour is as good
        base, form = (16, "{:#x}") if digits.startswith("0x") else (8, "0{:o}") if digits.startswith("0") and digits != "0" else (10, "{}")
        yield found.start(), found.end(), form.format(int(digits, base) + 1), "off by one"
    for found in re.finditer(r"\b(?:if|while) \(", code):
        end = closing(code, found.end() - 1)
        if end:
            yield found.end(), end - 1, f"!({code[found.end():end - 1]})", "condition negated"
    found = re.search(r"\breturn ([^;]+);$", code)
    if found and not re.fullmatch(r"true|false|nullptr|\d+|\{\}", found[1]):
        yield found.start(1), found.end(1), "{}", "returns nothing"
    start = len(code) - len(code.lstrip())
    if STATEMENT.match(code, start) and not code.endswith((" = delete;", " = default;")) and not DECLARES.match(code, start) and (
            not previous or previous[-1] in ";{}:" or previous.endswith((")", "else"))):
        yield start, len(code), ";", "statement removed"


def mutants_of(path: str) -> list[Mutant]:
    text = (ROOT / path).read_text()
    lines, code_lines = text.split("\n"), code_only(text).split("\n")
    found, previous = [], ""
    for i, (line, code) in enumerate(zip(lines, code_lines)):
        code = code.rstrip()
        for start, end, new, what in changes(code, previous):
            # What is kept of a condition comes from the line itself, quotes included.
            if what == "condition negated":
                new = f"!({line[start:end]})"
            after = line[:start] + new + line[end:]
            broken = "\n".join(lines[:i] + [after] + lines[i + 1:])
            found.append(Mutant(path, i + 1, what, line.strip(), after.strip(), broken))
        previous = code.strip() or previous
    return found


def explanations() -> dict[tuple[str, str, str], str]:
    """tests/mutants.txt: a line with a file, then for each mutant `- before`, `+ after` and `= why`."""
    found, path, before, after = {}, "", "", ""
    for line in EXPLAINED.read_text().splitlines() if EXPLAINED.exists() else []:
        if line.startswith("- "):
            before = line[2:].strip()
        elif line.startswith("+ "):
            after = line[2:].strip()
        elif line.startswith("= "):
            found[path, before, after] = line[2:].strip()
        elif line.strip() and line[0] not in "# ":
            path = line.strip()
    return found


def sample(mutants: list[Mutant], seed: int) -> list[Mutant]:
    """In random order, each line once before any line comes twice: it is lines that tests reach or miss."""
    chance = random.Random(f"{seed} {mutants[0].path}" if mutants else "")
    shuffled = chance.sample(mutants, len(mutants))
    seen: Counter = Counter()
    rank = {}
    for mutant in shuffled:
        rank[mutant] = seen[mutant.line]
        seen[mutant.line] += 1
    return sorted(shuffled, key=lambda mutant: rank[mutant])
