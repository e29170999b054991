# SPDX-License-Identifier: Apache-2.0
"""scripts/compared: runs `mallard compare` on four programs, verifies what it recommends by a second comparison, and
writes the tables of docs/compare.md."""
from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs/compare.md"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


PORT = free_port()
ASK = shlex.join([sys.executable, str(HERE / "ask.py")])


class Missing(Exception):
    """Why a program cannot be had here."""


@dataclass(frozen=True)
class Comparison:
    name: str
    what: str
    make: Callable[[Path], list[str]]   # into a folder; returns the command
    options: list[str] = field(default_factory=list)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"{Path(str(command[0])).name}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path.home() / ".cargo/bin"))
    if not found:
        raise Missing(f"there is no {name}")
    return found


def indexer(folder: Path) -> list[str]:
    shutil.copytree(HERE / "indexer", folder / "indexer", dirs_exist_ok=True)  # cargo leaves a lock file beside it
    run(program("cargo"), "build", "--release", "--quiet", "--manifest-path", folder / "indexer/Cargo.toml",
        "--target-dir", folder / "target")
    return [str(folder / "target/release/indexer"), str(PORT), str(folder / "data")]


def resize(folder: Path) -> list[str]:
    shutil.copy(HERE / "resize.mjs", folder)
    if not (folder / "node_modules/sharp").exists():
        run(program("npm"), "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "sharp@0.33.5")
    return [program("node"), str(folder / "resize.mjs"), str(PORT)]


FILL = f"""redis-benchmark -p {PORT} -q -n 400000 -P 16 -r 200000 -d 500 set key:__rand_int__ __data__ >/dev/null &&
redis-cli -p {PORT} eval "for i=0,199999 do if i%10~=0 then redis.call('del', string.format('key:%012d', i)) end end" 0"""

COMPARISONS = (
    Comparison("indexer", "a search engine in Rust (mimalloc 2 inside, LMDB in C on libc's malloc) that indexes 100,000 documents, "
               "half of them while it answers 4,000 queries", indexer,
               ["--ready", "READY", "--load", f"{ASK} lines {PORT} 'index 50000' 'both 50000 4000'", "--check",
                f"{ASK} lines {PORT} 'search 500'", "--idle", "30"]),
    Comparison("redis", "a redis-server, filled with 200,000 keys, nine of ten of which are deleted",
               lambda folder: [program("redis-server"), "--port", str(PORT), "--save", "", "--dir", str(folder)],
               ["--ready", "Ready to accept", "--load", FILL, "--check", f"redis-cli -p {PORT} ping", "--idle", "15"]),
    Comparison("resize", "a thumbnail service: node and sharp (libvips), 120 pictures, eight at a time", resize,
               ["--ready", "READY", "--load", f"{ASK} pages {PORT} 120", "--idle", "15"]),
    Comparison("records", "a python3 batch that reads 400,000 records of JSON",
               lambda folder: [program("python3"), str(HERE / "records.py")]),
)


def compare(asked: argparse.Namespace, c: Comparison, command: list[str], kept: Path, candidates: list[str]) -> dict:
    kept.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(asked.build / "mallard"), "compare", "--runs", str(asked.runs), "--keep", str(kept), "--html",
                           str(kept / "comparison.html"), *candidates, *c.options, "--", *command],
                          env={k: v for k, v in os.environ.items() if not k.startswith(("ALLOC_", "LD_PRELOAD"))},
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"mallard compare ended with status {done.returncode}")
    print(done.stdout, flush=True)
    return json.loads((kept / "comparison.json").read_text())


def verified(asked: argparse.Namespace, c: Comparison, command: list[str], folder: Path, result: dict) -> str:
    """Whether a second comparison, of what is recommended alone, says the same."""
    if result["best_change"] >= 0:
        return "Nothing was recommended."
    best = next(row for row in result["candidates"] if row["name"] == result["best"])
    again = compare(asked, c, command, folder / "again", ["--backends", best["name"]])
    first, second = (f"{-100 * r['best_change']:.0f} %" for r in (result, again))
    if again["best"] != best["name"]:
        return f"A second comparison, of {best['name']} alone, did not confirm the {first}: {again['advice']}"
    return f"A second comparison, of {best['name']} alone, gave {second} less (here {first})."


def write(c: Comparison, text: str) -> None:
    """Between the marks of that comparison."""
    begin, end = f"<!-- made by scripts/compared {c.name} -->\n", f"<!-- end of {c.name} -->\n"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"compared: error: {PAGE.name} has no place for {c.name}")
    PAGE.write_text(before + begin + "\n" + text.strip() + "\n\n" + end + after, encoding="utf-8")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="compared", description=__doc__.replace("\n", " "))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(c.name for c in COMPARISONS)}; all by default")
    parser.add_argument("--backends", default="system,jemalloc,mimalloc2,mimalloc3", help="candidates (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each candidate (default: %(default)s)")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where mallard is (default: build)")
    parser.add_argument("--into", type=Path, default=ROOT / "build/compared", help="for programs, reports and pages")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/compare.md")
    asked = parser.parse_args(words)
    unknown = set(asked.names) - {c.name for c in COMPARISONS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; expected are {', '.join(c.name for c in COMPARISONS)}")
    failed = 0
    for c in COMPARISONS:
        if asked.names and c.name not in asked.names:
            continue
        print(f"compared: {c.name}: {c.what}", file=sys.stderr, flush=True)
        folder = (asked.into / c.name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            command = c.make(folder)
            result = compare(asked, c, command, folder / "kept", ["--backends", asked.backends])
            sentence = verified(asked, c, command, folder, result)
        except Missing as why:
            print(f"compared: {c.name} was not compared: {why}", file=sys.stderr)
            failed += 1
            continue
        print(f"{sentence}\n", flush=True)
        if asked.write:
            table = (folder / "kept/comparison.md").read_text(encoding="utf-8").replace(str(folder), ".").replace(str(ROOT), ".")
            table = table.replace(str(PORT), "PORT")
            write(c, f"{c.what[0].upper()}{c.what[1:]}.\n\n{table.strip()}\n\n{sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
