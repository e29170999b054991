# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: initdb, a seeded table, pgbench, reports of the postmaster and of a backend process."""
from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import processes
from support.framework import Test, wait_until
from support.marks import every_backend
from support.reports import ask_and_check

OWN_SIGNAL = 60  # PostgreSQL's processes talk by SIGUSR1 and SIGUSR2
SETTINGS = {"fsync": "off", "listen_addresses": "", "shared_buffers": "16MB", "max_connections": "20",
            "dynamic_shared_memory_type": "mmap", "logging_collector": "off", "jit": "off"}
SQL = ("select md5(string_agg(md5(i::text || v), '' order by i)), count(*), sum(i) from "
       "(select i, repeat(chr(97 + i % 26), i % 300) v from generate_series(1, 20000) i) s")
CONSISTENT = ("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
              " and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)")


class Server:
    """One cluster in a directory of its own; as root everything runs as postgres or nobody."""

    def __init__(self, t: Test, folder: Path, env: dict[str, str], label: str) -> None:
        self.t, self.folder, self.env, self.label = t, folder, env, label
        self.binaries = find_binaries(t)
        self.identity: dict[str, Any] = {}
        folder.mkdir()
        if os.geteuid() == 0:
            user = unprivileged_user()
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        self.process: subprocess.Popen[bytes] | None = None

    def tool(self, name: str, *words: str | Path, env: dict[str, str] | None = None, **options: Any) -> str:
        return self.t.run([self.binaries / name, *words], self.env if env is None else env,
                          label=f"{self.label}-{name}", cwd=self.folder, **self.identity, **options).stdout

    def start(self) -> None:
        settings = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
        self.process = self.t.start(
            [self.binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
            self.env, label=f"{self.label}-postgres", cwd=self.folder, **self.identity)
        ready = self.folder / "data" / "postmaster.pid"
        wait_until(lambda: self.process.poll() is not None or
                   (ready.exists() and "ready" in ready.read_text()), 30, "postgres to be ready")
        self.t.check(self.process.poll() is None, "postgres did not start: " +
                     self.t.output_of(self.process, "stderr")[-400:])

    def query(self, sql: str) -> str:
        return self.tool("psql", "-h", self.folder, "-U", "tester", "-X", "-A", "-t", "-c", sql, "postgres",
                         env=self.t.plain_env()).strip()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.t.finish(self.process, 30)


def find_binaries(t: Test) -> Path:
    for path in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True) + glob.glob("/usr/bin"):
        if all(os.path.exists(f"{path}/{name}") for name in ("initdb", "postgres", "pgbench", "psql")):
            return Path(path)
    t.skip("postgres, initdb, pgbench or psql is not installed")


def unprivileged_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def reachable_library(t: Test) -> Path:
    """The library at a place that the other user may read, with the backends beside it."""
    place = t.tmp / "lib"
    place.mkdir()
    shutil.copy2(t.library, place / "libmallard.so")
    if (t.build / "backends").is_dir():
        (place / "backends").mkdir()
        for file in (t.build / "backends").glob("*.so*"):
            shutil.copy2(file, place / "backends")
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755)
    return place / "libmallard.so"


def initialise(server: Server) -> None:
    server.tool("initdb", "-D", server.folder / "data", "-U", "tester", "-A", "trust", "-N",
                "--no-locale", "-E", "UTF8", seconds=90)


def plain_result(t: Test) -> str:
    server = Server(t, t.tmp / "plain", t.plain_env(), "plain")
    initialise(server)
    server.start()
    result = server.query(SQL)
    server.stop()
    return result


@every_backend
@pytest.mark.timeout(120)
def test_postgresql(t: Test) -> None:
    expected = t.baseline("postgresql", lambda: plain_result(t))
    folder = t.tmp / "own"
    reports = folder / "reports"
    env = t.preload_env(LD_PRELOAD=str(reachable_library(t)), ALLOC_SIGNAL=str(OWN_SIGNAL),
                        ALLOC_REPORT=str(reports / "report.%e.%p.%n"), ALLOC_SAMPLE_BYTES="65536")
    server = Server(t, folder, env, "own")
    reports.mkdir()
    if server.identity:
        os.chown(reports, server.identity["user"], server.identity["group"])
    initialise(server)
    server.start()
    t.equal(server.query(SQL), expected, "result of the query")
    server.tool("pgbench", "-i", "-q", "-s", "1", "-h", folder, "-U", "tester", "postgres")
    load = t.start([server.binaries / "pgbench", "-h", folder, "-U", "tester", "-c", "4", "-j", "2", "-T",
                    "600", "postgres"], env, label="own-pgbench-run", cwd=folder, **server.identity)
    assert server.process is not None
    ask_and_check(t, server.process, OWN_SIGNAL, directory=reports)
    # A backend of the load's four clients, not of a worker or of pgbench's first look, which end at any moment.
    postmaster = server.process.pid

    def backends() -> list[int] | None:
        found = [pid for pid in processes.descendants(postmaster)
                 if "tester postgres" in processes.title_of(pid) and processes.catches(pid, OWN_SIGNAL)]
        return found if len(found) >= 4 else None

    ask_and_check(t, wait_until(backends, 10, "the backends of four clients")[-1], OWN_SIGNAL,
                  directory=reports)
    load.send_signal(signal.SIGALRM)  # what ends it when its time is over, too
    t.finish(load, 60)
    t.equal(server.query(CONSISTENT), "t", "balances of pgbench agree with its history")
    t.equal(server.query(SQL), expected, "result of the query after the load")
    server.stop()
