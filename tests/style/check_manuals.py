#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the manual pages and completions keep up with --help and base/options.def: every subcommand, option,
value and variable. usage: check_manuals.py ROOT MALLARD"""
import re
import shutil
import subprocess
import sys
from pathlib import Path


def output_of(mallard: str, *arguments: str) -> str:
    return subprocess.run([mallard, *arguments], capture_output=True, text=True, check=True).stdout


def options_in(text: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w, ?)?(--[a-z-]+)", text, re.M))


def section_of(page: str, name: str) -> str:
    return re.split(r"\n\.S[sh] ", page.partition(f".Ss mallard {name}\n")[2])[0]


def is_explained(page: str, option: str) -> bool:
    return re.search(rf"^\.It .*Fl -{option[2:]}\b(?!-)", page, re.M) is not None


def problems_of_manual(page: str, helps: dict[str, str]) -> list[str]:
    found = []
    for name, text in helps.items():
        section = section_of(page, name)
        if not section:
            found.append(f"mallard.1 does not explain 'mallard {name}'")
            continue
        found += [f"mallard.1 does not explain 'mallard {name} {o}'" for o in sorted(options_in(text) - {"--help"})
                  if not is_explained(section, o)]
        stale = {f"--{o}" for o in re.findall(r"^\.It .*Fl -([a-z-]+)", section, re.M)} - options_in(text)
        found += [f"mallard.1 explains 'mallard {name} {o}', which is not there" for o in sorted(stale)]
        for listed in re.findall(r"\{([\w,-]+)\}", text):
            found += [f"mallard.1 does not say '{word}' under 'mallard {name}'" for word in listed.split(",")
                      if not re.search(rf"\b{word}\b", section)]
    return found


def problems_of_variables(page: str, table: str) -> list[str]:
    variables = re.findall(r'"(ALLOC_\w+)"', table)
    assert variables, "options.def has no variables"
    entries = re.findall(r"^\.It Ev (ALLOC_\w+)$", page, re.M)
    return ([f"libmallard.7 does not explain {v}" for v in variables if v not in entries] +
            [f"libmallard.7 explains {v}, which is not there" for v in entries if v not in variables])


def problems_of_completions(mallard: str, helps: dict[str, str]) -> list[str]:
    found = []
    for shell, line in (("bash", r"^    {}\) options=.*$"), ("zsh", r"^    {}\)\n(?:      .*\n)+")):
        text = output_of(mallard, "completions", shell)
        for name, help_text in helps.items():
            at = re.search(line.format(name), text, re.M)
            found += [f"the completion of {shell} lacks 'mallard {name} {o}'" for o in sorted(options_in(help_text))
                      if at is None or not re.search(rf"{o}(?![\w-])", at.group(0))]
    return found


def problems_of_markup(pages: list[Path]) -> list[str]:
    if not shutil.which("mandoc"):
        print("mandoc is not there: the markup of the manual pages was not checked")
        return []
    done = subprocess.run(["mandoc", "-Tlint", *pages], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]


def main() -> int:
    root, mallard = Path(sys.argv[1]), sys.argv[2]
    pages = [root / "docs/man/mallard.1", root / "docs/man/libmallard.7"]
    names = re.findall(r"^  ([a-z]+)  ", re.split("Subcommands:", output_of(mallard, "--help"), flags=re.I)[1], re.M)
    assert len(names) > 4, "mallard --help was not understood"
    helps = {name: output_of(mallard, name, "--help") for name in names}
    problems = (problems_of_manual(pages[0].read_text(), helps) +
                problems_of_variables(pages[1].read_text(), (root / "base/options.def").read_text() +
                                      (root / "base/started.hpp").read_text()) +
                problems_of_completions(mallard, helps) + problems_of_markup(pages))
    for problem in problems:
        print(f"error: {problem}")
    print(f"{len(names)} subcommands, {sum(len(options_in(h)) for h in helps.values())} options, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
