# SPDX-License-Identifier: Apache-2.0
"""Completions as bash and zsh give them."""
from __future__ import annotations

import os
import shutil
import subprocess
import time

from .harness import Failure, Skip, Test


def bash_offers(t: Test, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    script = t.dir / "completions.bash"
    script.write_text(t.run("completions", "bash").stdout)
    code = (f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _mallard; '
            'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", code, "bash", "mallard", *words], capture_output=True, text=True,
                          cwd=t.dir, timeout=60, check=False)
    if done.stderr:
        raise Failure(done.stderr)
    return set(done.stdout.split())


def expect(found: set[str], wanted: set[str], unwanted: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if wanted - found or unwanted & found:
        raise Failure(f"offered {sorted(found)}, wanted {sorted(wanted)}, not {sorted(unwanted)}")


def test_completion_of_bash(t: Test) -> None:
    (t.dir / "a.json").touch()
    (t.dir / "a.txt").touch()
    (t.dir / "deep").mkdir()
    expect(bash_offers(t, ""), {"run", "check", "dump", "report", "diff"}, {"completions"})
    expect(bash_offers(t, "r"), {"run", "report"}, {"dump"})
    expect(bash_offers(t, "report", "--f"), {"--format", "--focus", "--fail-on"}, {"--by"})
    expect(bash_offers(t, "report", "--format", "p"), {"pprof"}, {"text"})
    expect(bash_offers(t, "report", "--format", "=", "sp"), {"speedscope"}, {"text"})
    expect(bash_offers(t, "report", "--format", "text", ""), {"a.json", "deep"}, {"a.txt"})
    expect(bash_offers(t, "report", "--format", "html", "b.json", "c.json", ""), {"a.json"}, {"a.txt"})
    expect(bash_offers(t, "diff", "a.json", ""), {"a.json"}, {"a.txt"})
    expect(bash_offers(t, "dump", "--fail-on", "l"), {"leak", "lazily_freed"})
    expect(bash_offers(t, "run", "--backend", "mi"), {"mimalloc", "mimalloc2", "mimalloc3"}, {"jemalloc"})
    expect(bash_offers(t, "run", "--at-exit", "--mode", ""), {"sample", "exact", "off"})
    expect(bash_offers(t, "run", "--", "bas"), {"bash"})
    expect(bash_offers(t, "mode", "4711", "e"), {"exact"}, {"off"})
    process = t.start(t.mallard, "run", "--", "bash", "-c", "echo up; sleep 100; true", env={"ALLOC_CONTROL": "0"})
    for words in (("dump", ""), ("check", ""), ("dump", "--purge", "")):
        expect(bash_offers(t, *words), {str(process.pid)}, {str(os.getpid())})


def test_completion_of_zsh(t: Test) -> None:
    if not shutil.which("zsh"):
        raise Skip("there is no zsh")
    functions = t.dir / "functions"
    functions.mkdir()
    (functions / "_mallard").write_text(t.run("completions", "zsh").stdout)
    (t.dir / "a.json").touch()
    (t.dir / "a.txt").touch()
    # A terminal of its own, as zsh completes only there: the line is typed, then Tab twice.
    script = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT=; fpath=($1 \\$fpath); autoload -U compinit; compinit -u -D; zstyle ':completion:*' list-colors; LISTMAX=1000; echo rea''dy"
zpty -r z out '*ready*'
zpty -w -n z "$2"$'\\t\\t'
sleep 1
while zpty -r -t z part; do print -rn -- "$part"; done
zpty -d z
"""
    for line, wanted, unwanted in (("mallard ", {"run", "check", "dump", "report", "diff"}, {"completions"}),
                                   ("mallard report --fo", {"--format", "--focus"}, {"--by"}),
                                   ("mallard report --format ", {"pprof", "speedscope", "folded"}, {"--by"}),
                                   ("mallard run --backend ", {"mimalloc2", "jemalloc"}, {"exact"})):
        for _ in range(3):  # a busy machine
            done = subprocess.run(["zsh", "-f", "-c", script, "zsh", str(functions), line], capture_output=True,
                                  text=True, errors="replace", cwd=t.dir, timeout=60, check=False,
                                  env={**os.environ, "TERM": "dumb"})
            found = {w for w in done.stdout.replace("\r", " ").split()}
            if wanted <= found:
                break
            time.sleep(1)
        if wanted - found or unwanted & found:
            raise Failure(f"{line!r}: wanted {wanted}, not {unwanted}: {done.stdout!r} {done.stderr!r}")
