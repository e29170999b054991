# SPDX-License-Identifier: Apache-2.0
"""Suites of the matrix: the tests that the authors of a program wrote, out of its source package, on the program as Debian
installs it. Tests are left out where they judge the allocator or the size of the process, and where they only take long."""
from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

from support.processes import without_root

from .program import Outcomes, Program, Run, digest_of, program_path

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def copied(run: Run, *parts: str) -> Path:
    """Parts of the source package at a place where the tests may write."""
    place = run.folder / "suite"
    for part in parts:
        (place / part).parent.mkdir(parents=True, exist_ok=True)
        if (run.source / part).is_dir():
            shutil.copytree(run.source / part, place / part, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(run.source / part, place / part)
    return place


# ---- redis
# Without memefficiency, maxmemory and those of defragmentation, which judge the allocator.
REDIS_UNITS = (*(f"unit/type/{name}" for name in ("string", "incr", "list", "set", "hash", "zset", "stream-cgroups")),
               *(f"unit/{name}" for name in ("dump", "expire", "scan", "sort", "multi", "pubsub", "functions", "scripting", "lazyfree",
                                             "other", "protocol", "keyspace", "info", "tracking", "limits", "networking", "querybuf")),
               "integration/rdb", "integration/dismiss-mem")
REDIS_COMMANDS = ("redis-server", "redis-cli", "redis-benchmark", "redis-check-rdb", "redis-check-aof")


def redis_outcomes(text: str) -> Outcomes:
    ends = {"ok": "passed", "err": "failed", "exception": "failed", "skip": "skipped"}
    each = []
    for end, rest in re.findall(r"^\[(ok|err|exception|skip)\]: (.*)", COLOURS.sub("", text), re.MULTILINE):
        each.append((re.sub(r" \(\d+ ms\)$| in tests/\S+\.tcl$", "", rest), ends[end]))
    if "\n                   The End\n" not in text:
        each.append(("the suite itself", "failed"))
    return Outcomes(each)


def redis(run: Run) -> Outcomes:
    place = copied(run, "tests", "redis.conf", "sentinel.conf")
    (place / "src").mkdir()
    (place / "tests/tmp").mkdir(exist_ok=True)
    for name in REDIS_COMMANDS:
        (place / "src" / name).symlink_to(program_path(name))
    single = [word for unit in REDIS_UNITS for word in ("--single", unit)]
    done = run.command("tclsh", "tests/test_helper.tcl", "--clients", "4", "--tags", "-slow -large-memory", *single,
                       expect=None, seconds=150, options={"cwd": place})
    return redis_outcomes(done.stdout)


# ---- Perl
PERL_FOLDERS = ("base", "cmd", "comp", "io", "mro", "op", "re", "uni")
# They take long, or need modules that the build alone has, or files of it.
PERL_WITHOUT = re.compile(
    r"re/(anyof|fold_grind|pat_psycho|reg_email|reg_fold|reg_nc_tie|regexp_|speed|uniprops|pat|\w+_thr).*"
    r"|op/(alarm|cond|coreamp|coresubs|goto_xs|magic|readdir|sigdispatch|signatures|sleep|sselect|time)\.t|uni/(fold|variables)\.t")
# Prints file, number of tests that passed, those that failed, status, why it was skipped.
PERL_HARNESS = r"""
use TAP::Harness;
my $all = TAP::Harness->new({jobs => 3, verbosity => -3, merge => 1})->runtests(@ARGV);
for my $file ($all->descriptions) {
  my ($one) = $all->parsers($file);
  print join("\t", $file, scalar($one->passed), join(",", $one->failed), $one->wait, scalar($one->parse_errors), $one->skip_all // ""), "\n";
}
print "all of them\n";
"""


def perl_outcomes(text: str) -> Outcomes:
    each: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 6:
            continue
        name, passed, failed, status, wrong, skipped = fields
        each[(name, "passed")] += int(passed)
        for number in filter(None, failed.split(",")):
            each[(f"{name} {number}", "failed")] += 1
        if int(status) or int(wrong):
            each[(f"{name} with status {status}", "failed")] += 1
        if skipped:
            each[(name, "skipped")] += 1
    if "\nall of them\n" not in text:
        each[("the suite itself", "failed")] += 1
    return Outcomes(each)


def perl(run: Run) -> Outcomes:
    place = copied(run, "t", "lib")
    version = run.plainly("perl", "-MConfig", "-e", "print qq(@Config{qw(privlibexp archlibexp)})").stdout.split()
    for folder in (*version, "/usr/lib/x86_64-linux-gnu/perl-base"):  # the tests look into ../lib alone
        run.plainly("cp", "-rsf", f"{folder}/.", place / "lib")
    (place / "t/perl").symlink_to(program_path("perl"))
    files = sorted(f"{folder}/{file.name}" for folder in PERL_FOLDERS for file in (place / "t" / folder).glob("*.t"))
    done = run.command("perl", "-e", PERL_HARNESS, *(name for name in files if not PERL_WITHOUT.fullmatch(name)),
                       expect=None, seconds=150, options={"cwd": place / "t"})
    return perl_outcomes(done.stdout)


# ---- Ruby
RUBY_FILES = ("array", "string", "hash", "thread", "thread_queue", "thread_cv", "fiber", "process", "signal", "gc", "gc_compact", "objectspace",
              "weakmap", "proc", "symbol", "marshal", "pack", "struct", "regexp", "transcode", "exception", "io_buffer", "memory_view")
# They measure the process (assert_no_memory_leak reads VmRSS), or take long.
RUBY_WITHOUT = (r"!/memory_leak|no_leak|test_sweep_in_finalizer|too_long_path|test_shared_marking|any_hash_fixable|broken_hash_value|test_product|"
                r"execopts_env|execopts_redirect|deadlock_by_signal|killed_thread|test_argv0/")


def ruby_outcomes(text: str) -> Outcomes:
    ends = {"Failure": "failed", "Error": "failed", "Timeout": "failed", "Skipped": "skipped"}
    bad = {name: ends[end] for end, name in re.findall(r"^ +\d+\) (Failure|Error|Timeout|Skipped):\n(\S+#\S+?)(?: \[|:\n)", text, re.MULTILINE)}
    each = [(name, bad.get(name, "passed")) for name in re.findall(r"^\[ *\d+/\d+\] (\S+#.+?) = \d", text, re.MULTILINE)]
    if not re.search(r"^\d+ tests, \d+ assertions, ", text, re.MULTILINE):
        each.append(("the suite itself", "failed"))
    return Outcomes(each)


def ruby(run: Run) -> Outcomes:
    place = copied(run, "test", "tool", "debian/tests/excludes")
    excludes = [f"--excludes-dir={place}/{folder}/" for folder in ("test/excludes", "debian/tests/excludes/any", "debian/tests/excludes/autopkgtest")]
    files = [f"test/ruby/test_{name}.rb" for name in RUBY_FILES if (place / f"test/ruby/test_{name}.rb").exists()]
    done = run.command("ruby", "test/runner.rb", "-v", "--show-skip", "--seed=1", "--test-order=alpha", *excludes, f"--name={RUBY_WITHOUT}", *files,
                       expect=None, seconds=150, options={"cwd": place}, first=True)
    return ruby_outcomes(done.stdout)


# ---- PostgreSQL
POSTGRES_REGRESS = "lib/pgxs/src/test/regress/pg_regress"
POSTGRES_WITHOUT = re.compile(r" (?:amutils|brin|brin_multi|join_hash|privileges|publication|rowsecurity)\b")  # take long, or need one of these


def postgres_outcomes(text: str, place: Path) -> Outcomes:
    """Some tests fail for want of regress.so, which is compiled with the server: what they print counts instead."""
    each = []
    for name, end in re.findall(r"^(?:test| {5}) *(\S+) +\.\.\. (ok|FAILED|failed)", text, re.MULTILINE):
        if end == "ok":
            each.append((name, "passed"))
        else:
            printed = (place / "results" / f"{name}.out").read_text(errors="replace")
            each.append((name, f"failed as {digest_of(printed.replace(str(place), ''))[:6]}"))
    if not re.search(r"^ (?:All )?\d+ (?:of \d+ )?tests (?:passed|failed)", text, re.MULTILINE):
        each.append(("the suite itself", "failed"))
    return Outcomes(each)


def postgres_folder() -> Path:
    """Of the newest version that is here."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/{POSTGRES_REGRESS}"), key=lambda path: float(path.parts[4]))
    return Path(*found[-1].parts[:5]) if found else Path("/usr/lib/postgresql")


def postgres(run: Run) -> Outcomes:
    place = copied(run, *(f"src/test/regress/{part}" for part in ("sql", "expected", "data", "resultmap", "parallel_schedule"))) / "src/test/regress"
    schedule = place / "parallel_schedule"
    schedule.write_text(POSTGRES_WITHOUT.sub("", schedule.read_text()))
    owned = without_root()
    if owned:
        for path in (place, *place.rglob("*")):
            os.chown(path, owned["user"], owned["group"])
    tools = postgres_folder()
    done = run.command(tools / POSTGRES_REGRESS, f"--bindir={tools}/bin", "--inputdir=.", "--outputdir=.", f"--dlpath={tools}/lib",
                       "--temp-instance=instance", "--no-locale", "--encoding=UTF8", "--schedule=parallel_schedule", "--max-concurrent-tests=20",
                       expect=None, seconds=150, options={"cwd": place, **owned})
    return postgres_outcomes(done.stdout, place)


# ---- cargo
CARGO_CRATES = ("itoa", "semver", "strsim")  # Debian's packages of them, which need no other crate
CARGO_REGISTRY = Path("/usr/share/cargo/registry")


def cargo_outcomes(text: str) -> Outcomes:
    each = [(name, {"ok": "passed", "ignored": "skipped"}.get(end, "failed"))
            for name, end in re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", text, re.MULTILINE)]
    if not re.search(r"^test result: ", text, re.MULTILINE):
        each.append(("the suite itself", "failed"))
    return Outcomes(each)


def cargo(run: Run) -> Outcomes:
    """The crates as one workspace, built and tested."""
    for name in CARGO_CRATES:
        crate = max(CARGO_REGISTRY.glob(f"{name}-[0-9]*"), key=lambda path: path.name)
        shutil.copytree(crate, run.folder / name)
        manifest = run.folder / name / "Cargo.toml"
        without_serde = re.sub(r"^\[dependencies\.serde\]\n(?:\w.*\n)*", "", manifest.read_text(), flags=re.MULTILINE)  # is optional
        manifest.write_text(without_serde)
    (run.folder / "Cargo.toml").write_text(f"[workspace]\nmembers = {list(CARGO_CRATES)}\n".replace("'", '"'))
    done = run.command("cargo", "test", "--offline", "--workspace", "--lib", "--tests", "--no-fail-fast", expect=None, seconds=150,
                       RUSTC=str(program_path("rustc")), CARGO_HOME=str(run.folder / "home"), CARGO_PROFILE_TEST_DEBUG="0")
    return cargo_outcomes(done.stdout)


SUITES = (
    Program("redis' own tests", f"{len(REDIS_UNITS)} units of them, by tclsh", ("redis-server", "tcl", "dpkg-dev"),
            ("redis-server", "redis-cli", "redis-benchmark", "tclsh"), ("redis-server", "--version"), redis, source="redis"),
    Program("Perl's own tests", f"files of {', '.join(PERL_FOLDERS)}", ("perl", "dpkg-dev"), ("perl", "prove"),
            ("perl", "-e", "printf q(%vd), $^V"), perl, source="perl"),
    Program("Ruby's own tests", f"{len(RUBY_FILES)} files of `test/ruby`, without those that measure the process",
            ("ruby", "dpkg-dev"), ("ruby",), ("ruby", "--version"), ruby, source="ruby3.1|ruby3.3"),
    Program("pg_regress", "its parallel schedule, on a server of its own",
            ("postgresql", "dpkg-dev"), (str(postgres_folder() / POSTGRES_REGRESS),), ("psql", "--version"), postgres,
            source="postgresql-15|postgresql-17"),
    Program("cargo", f"`cargo test` of {', '.join(CARGO_CRATES)}", ("cargo", "rustc", *(f"librust-{name}-dev" for name in CARGO_CRATES)),
            ("/usr/bin/cargo", "/usr/bin/rustc"), ("/usr/bin/cargo", "--version"), cargo),
)
