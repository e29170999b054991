# SPDX-License-Identifier: Apache-2.0
"""slapd with back-mdb (LMDB is compiled into it), loaded and searched."""
from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import urllib.parse
from pathlib import Path

import pytest

from support.framework import Test, wait_until
from support.marks import every_backend
from support.processes import listens, waits_for_input
from support.reports import ask_and_check, wait_for_handler, wait_for_new

ENTRIES = 20_000
OWN_SIGNAL = 60  # slapd shuts down on SIGUSR2
MODULES = Path("/usr/lib/ldap")
SCHEMAS = Path("/etc/ldap/schema")
SEARCHES = ["(objectClass=inetOrgPerson)", "(sn=Name7)", "(&(employeeType=kind3)(uid=u1*))",
            "(description=*needle*)"]


def write_config(t: Test, folder: Path) -> Path:
    if not (MODULES / "back_mdb.so").exists() or not (SCHEMAS / "core.schema").exists():
        t.skip("back_mdb.so or the schemas of slapd are not installed")
    (folder / "db").mkdir(parents=True)
    includes = "".join(f"include {SCHEMAS}/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
    config = folder / "slapd.conf"
    config.write_text(
        f"{includes}modulepath {MODULES}\nmoduleload back_mdb\npidfile {folder}/pid\nargsfile {folder}/args\n"
        "sizelimit unlimited\nthreads 4\n"
        "database mdb\nmaxsize 1073741824\nsuffix \"dc=test\"\nrootdn \"cn=admin,dc=test\"\nrootpw secret\n"
        f"directory {folder}/db\ndbnosync\nindex objectClass eq\nindex uid,sn,employeeType eq,sub\n")
    return config


def ldif(t: Test) -> Path:
    """The same 20,000 people in every run; entryUUIDs and times are fixed, too."""
    path = t.session / "people.ldif"
    seeded = random.Random(77)
    stamp = "createTimestamp: 20200101000000Z\nmodifyTimestamp: 20200101000000Z\n"
    parts = ["dn: dc=test\nobjectClass: domain\ndc: test\n" + stamp]
    for number in range(ENTRIES):
        words = " ".join("%08x" % seeded.getrandbits(32) for _ in range(seeded.randrange(2, 12)))
        needle = " needle" if number % 997 == 0 else ""
        parts.append(f"dn: uid=u{number},dc=test\nobjectClass: inetOrgPerson\nuid: u{number}\n"
                     f"cn: Person {number}\nsn: Name{number % 50}\nemployeeType: kind{number % 9}\n"
                     f"mail: u{number}@test.invalid\ndescription: {words}{needle}\n"
                     f"entryUUID: 00000000-0000-4000-8000-{number:012x}\n{stamp}")
    path.write_text("\n".join(parts))
    return path


def load(t: Test, folder: Path, env: dict[str, str], signalled: bool) -> Path:
    config = write_config(t, folder)
    people = t.baseline("slapd-ldif", lambda: str(ldif(t)))
    loader = t.start([t.program("slapadd"), "-q", "-f", config], env, stdin=subprocess.PIPE,
                     label="slapadd-plain" if not signalled else "slapadd")
    assert loader.stdin
    text = Path(people).read_bytes()
    half = len(text) // 2
    loader.stdin.write(text[:half])
    loader.stdin.flush()
    if signalled:  # it cannot end before it has the rest
        wait_until(lambda: waits_for_input(loader.pid, loader.stdin.fileno()), 60, "slapadd to load one half")
        ask_and_check(t, loader, OWN_SIGNAL)
    loader.stdin.write(text[half:])
    loader.stdin.close()
    t.finish(loader, 90)
    return config


def serve(t: Test, folder: Path, config: Path, env: dict[str, str], label: str
          ) -> tuple[subprocess.Popen[bytes], str]:
    url = "ldapi://" + urllib.parse.quote(str(folder / "ldapi"), safe="")
    server = t.start([t.program("slapd"), "-d", "0", "-f", config, "-h", url], env, label=label)
    wait_until(lambda: listens(folder / "ldapi") or server.poll() is not None, 20, "the socket of slapd")
    t.check(server.poll() is None, f"slapd did not start: {t.output_of(server, 'stderr')[-300:]}")
    return server, url


def search(t: Test, url: str, text: str) -> list[object]:
    """Number and hash of the entries found; the client runs without preload."""
    done = subprocess.run([t.program("ldapsearch"), "-x", "-LLL", "-o", "ldif-wrap=no", "-H", url, "-b",
                           "dc=test", text, "*", "entryUUID"],
                          capture_output=True, text=True, env=t.plain_env())
    t.equal(done.returncode, 0, f"exit status of ldapsearch {text}: {done.stderr.strip()[:200]}")
    entries = sorted(done.stdout.strip().split("\n\n"))
    return [len(entries), hashlib.sha256("\n\n".join(entries).encode()).hexdigest()]


def plain_results(t: Test) -> list[list[object]]:
    folder = t.tmp / "plain"
    config = load(t, folder, t.plain_env(), signalled=False)
    server, url = serve(t, folder, config, t.plain_env(), "plain")
    found = [search(t, url, text) for text in SEARCHES]
    server.send_signal(signal.SIGTERM)
    t.finish(server)
    return found


@every_backend
@pytest.mark.timeout(120)
def test_slapd(t: Test) -> None:
    expected = t.baseline("slapd", lambda: plain_results(t))
    t.equal(expected[0][0], ENTRIES, "entries found without preload")
    folder = t.tmp / "own"
    env = t.preload_env(ALLOC_SIGNAL=str(OWN_SIGNAL), ALLOC_SAMPLE_BYTES="65536")
    config = load(t, folder, env, signalled=True)
    server, url = serve(t, folder, config, env, "slapd")
    found = []
    for text in SEARCHES:
        found.append(search(t, url, text))
        if len(found) == 1:
            ask_and_check(t, server, OWN_SIGNAL, min_sites=3)
    t.equal(found, expected, "counts and hashes of the searches")
    server.send_signal(signal.SIGTERM)
    t.finish(server)


@pytest.mark.timeout(60)
def test_slapd_is_not_shut_down_by_a_request(t: Test) -> None:
    """slapd's handler of SIGUSR2 is that of SIGTERM and SIGINT, too: a request gives a report, and slapd goes on."""
    folder = t.tmp / "own"
    config = write_config(t, folder)
    server, url = serve(t, folder, config, t.preload_env(), "slapd")
    wait_for_handler(server.pid, signal.SIGUSR2)
    # slapd installs its handler before it opens the socket; once it answers, its threads are there, too.
    ask_root = [t.program("ldapsearch"), "-x", "-LLL", "-H", url, "-s", "base", "-b", ""]
    wait_until(lambda: subprocess.run(ask_root, env=t.plain_env(), capture_output=True).returncode == 0, 20,
               "slapd to answer")
    server.send_signal(signal.SIGUSR2)
    wait_for_new(server.pid, t.dir, set())
    answer = subprocess.run(ask_root, env=t.plain_env(), capture_output=True, check=False)
    t.equal(answer.returncode, 0, "slapd after the request")
    server.send_signal(signal.SIGTERM)
    t.finish(server, 20)
