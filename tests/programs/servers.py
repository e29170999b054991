# SPDX-License-Identifier: Apache-2.0
"""Servers of the matrix: each under a load that is the same every time, with a report in the middle of it."""
from __future__ import annotations

import hashlib
import http.server
import os
import re
import shutil
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import processes
from support.framework import wait_until
from support.processes import listens, without_root

from .program import Program, Run, answers, digest_of, free_port

PAGES = {"small": 900, "large": 300_000}


def under_load(run: Run, pid: int, load: Callable[[], None]) -> None:
    """Asks for the report while `load` runs."""
    failed: list[BaseException] = []

    def loading() -> None:
        try:
            load()
        except BaseException as error:  # noqa: BLE001 # told in the thread that waits
            failed.append(error)
    thread = threading.Thread(target=loading)
    thread.start()
    try:
        run.report_of(pid)
    finally:
        thread.join()
    if failed:
        raise failed[0]


# ---- redis
def redis(run: Run) -> str:
    path = run.folder / "redis.sock"
    server = run.server("redis-server", "--port", "0", "--save", "", "--unixsocket", path, "--dir", run.folder,
                        "--enable-debug-command", "yes", "--io-threads", "2", ready=lambda: listens(path))

    def load() -> None:
        run.plainly("redis-benchmark", "-s", path, "-q", "-n", "20000", "-P", "8", "-d", "120", "-t",
                    "set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,lrange_100,mset")
    under_load(run, server.pid, load)
    run.plainly("redis-cli", "-s", path, "flushall")
    keys = "".join(f"set key:{n} {'v' * (n * 37 % 900)}\n" + (f"del key:{n - 50}\n" if n % 3 == 0 else "") +
                   f"rpush list:{n % 40} {n}\nzadd z:{n % 20} {n * 7919 % 1000} m{n}\n" for n in range(6000))
    (run.folder / "commands").write_text(keys)
    with open(run.folder / "commands") as commands:
        run.plainly("redis-cli", "-s", path, stdin=commands)
    saved = run.plainly("redis-cli", "-s", path, "save").stdout  # and a fork
    run.plainly("redis-cli", "-s", path, "bgsave")
    result = run.plainly("redis-cli", "-s", path, "debug", "digest").stdout + saved
    run.stop(server, signal.SIGTERM)
    return result


# ---- memcached
def memcached(run: Run) -> str:
    path = run.folder / "memcached.sock"
    server = run.server("memcached", "-s", path, "-m", "48", "-t", "4", "-u", "root", ready=lambda: listens(path))
    result: list[str] = []

    def load() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            stream = client.makefile("rb")
            stored, seen = 0, hashlib.sha256()
            for part in range(0, 40_000, 200):
                client.sendall(b"".join(b"set k%d 0 0 %d\r\n%s\r\n" % (n, n % 800, b"v" * (n % 800)) for n in range(part, part + 200)))
                stored += sum(stream.readline() == b"STORED\r\n" for _ in range(200))
            for n in range(0, 40_000, 40):
                client.sendall(b"get k%d\r\n" % n)
                while (line := stream.readline()) != b"END\r\n":
                    seen.update(line)
            result.append(f"{stored} {seen.hexdigest()[:16]}")
    under_load(run, server.pid, load)
    run.stop(server, signal.SIGTERM)
    return result[0]


# ---- servers of pages
def make_pages(folder: Path) -> None:
    folder.mkdir()
    for name, size in PAGES.items():
        (folder / name).write_bytes(bytes(33 + n * 7919 % 90 for n in range(size)))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def read_pages(port: int, result: list[str], rounds: int = 150, paths: tuple[str, ...] = tuple(PAGES)) -> None:
    """By four threads, each with its own connections."""
    def reading(place: int) -> None:
        seen = hashlib.sha256()
        for n in range(rounds):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{paths[n % len(paths)]}", timeout=60) as answer:
                seen.update(answer.read())
        found[place] = seen.hexdigest()[:16]
    found = ["no answer"] * 4
    threads = [threading.Thread(target=reading, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result[:] = found


def worker_of(pid: int) -> int:
    """The largest of a server's processes but the first."""
    return max(wait_until(lambda: processes.descendants(pid), 20, "a worker"), key=processes.rss_bytes)


def nginx(run: Run) -> str:
    port, pages = free_port(), run.folder / "pages"
    make_pages(pages)
    (run.folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 2; pid {run.folder}/nginx.pid; error_log {run.folder}/nginx.log; user root; events {{ }}\n"
        f"http {{ access_log off; gzip on; gzip_min_length 100; client_body_temp_path {run.folder}/a; proxy_temp_path {run.folder}/b;"
        f" fastcgi_temp_path {run.folder}/c; uwsgi_temp_path {run.folder}/d; scgi_temp_path {run.folder}/e;\n"
        f"server {{ listen 127.0.0.1:{port}; root {pages}; }} }}\n")
    server = run.server("nginx", "-c", run.folder / "nginx.conf", ready=lambda: answers(port))
    result: list[str] = []
    under_load(run, worker_of(server.pid), lambda: read_pages(port, result))
    server.send_signal(signal.SIGHUP)  # new workers
    read_pages(port, result)
    run.stop(server, signal.SIGQUIT)
    return " ".join(result)


APACHE = """
ServerRoot /etc/apache2
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/apache.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so
LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so
LoadModule status_module /usr/lib/apache2/modules/mod_status.so
ServerName localhost
Listen 127.0.0.1:{port}
User {user}
StartServers 2
DocumentRoot {pages}
<Directory {pages}>
  Require all granted
</Directory>
"""


def apache(run: Run) -> str:
    """mpm_event blocks SIGUSR2, and nearly all other signals, in every thread of its workers."""
    port, pages = free_port(), run.folder / "pages"
    make_pages(pages)
    conf = run.folder / "apache.conf"
    conf.write_text(APACHE.format(folder=run.folder, pages=pages, port=port, user="www-data" if os.geteuid() == 0 else "#-1"))
    server = run.server("apache2", "-f", conf, "-DFOREGROUND", ready=lambda: answers(port))
    result: list[str] = []
    under_load(run, worker_of(server.pid), lambda: read_pages(port, result))
    server.send_signal(signal.SIGUSR1)  # its graceful restart
    read_pages(port, result)
    run.stop(server, signal.SIGTERM)
    return " ".join(result)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def haproxy(run: Run) -> str:
    """Its workers may create no process and no thread: RLIMIT_NPROC is 0."""
    pages, port = run.folder / "pages", free_port()
    make_pages(pages)
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(pages)))
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    conf = run.folder / "haproxy.cfg"
    conf.write_text(f"global\n  nbthread 2\n  maxconn 200\n  user nobody\ndefaults\n  mode http\n  timeout client 20s\n  timeout server 20s\n"
                    f"  timeout connect 20s\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n"
                    f"  server s 127.0.0.1:{behind.server_address[1]}\n")
    server = run.server("haproxy", "-W", "-f", conf, ready=lambda: answers(port))
    result: list[str] = []
    try:
        under_load(run, worker_of(server.pid), lambda: read_pages(port, result, rounds=100))
        run.stop(server, signal.SIGTERM, expect=None)
    finally:
        behind.shutdown()
    return " ".join(result)


# ---- data bases
def postgresql(run: Run) -> str:
    folder, who = run.folder / "pg", without_root()
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    run.t.check(found, "postgres is not installed")
    tools = found[-1].parent
    folder.mkdir()
    if who:
        os.chown(folder, who["user"], who["group"])
    owned = {"cwd": folder, **who}
    run.t.run([tools / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"], run.env, **owned)
    settings = [word for setting in ("fsync=off", "listen_addresses=", "shared_buffers=16MB", "dynamic_shared_memory_type=mmap",
                                     "jit=off") for word in ("-c", setting)]
    ready = folder / "data" / "postmaster.pid"
    server = run.server(tools / "postgres", "-D", folder / "data", "-k", folder, *settings,
                        ready=lambda: ready.exists() and "ready" in ready.read_text(), **owned)
    client = ["-h", folder, "-U", "tester"]

    def tool(name: str, *words: str | Path) -> str:
        return run.t.run([tools / name, *client, *words], run.t.plain_env(), **owned).stdout.strip()
    tool("pgbench", "-i", "-q", "-s", "1", "postgres")
    under_load(run, server.pid, lambda: tool("pgbench", "-c", "4", "-j", "2", "-t", "300", "--random-seed=7", "postgres") and None)
    result = tool("psql", "-X", "-A", "-t", "-c", "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), "
                  "(select count(*) from pgbench_history), (select md5(string_agg(md5(i::text), '' order by i)) from generate_series(1, 40000) i)",
                  "postgres")
    run.stop(server, signal.SIGINT)
    return result


def mariadb(run: Run) -> str:
    data, path = run.folder / "data", run.folder / "maria.sock"
    user = ["--user=root"] if os.geteuid() == 0 else []
    run.t.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db", *user],
              run.t.plain_env(), cwd=run.folder)
    server = run.server("mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={path}", "--skip-networking", "--innodb-buffer-pool-size=32M",
                        "--innodb-flush-log-at-trx-commit=0", f"--pid-file={run.folder}/maria.pid", *user, ready=lambda: listens(path))

    def sql(words: str) -> str:
        return run.plainly("mariadb", "--no-defaults", f"--socket={path}", "-uroot", "-N", "-B", "-e", words).stdout.strip()
    sql("create database d; use d; create table d.t (k int primary key, v varchar(200), key(v)) engine=innodb;"
        "insert into d.t select seq, repeat(char(97 + seq % 26), seq % 150) from seq_1_to_20000;")
    result: list[str] = []
    under_load(run, server.pid, lambda: result.append(sql(
        "use d; update t set v = concat(v, 'x') where k % 3 = 0; delete from t where k % 7 = 0; select count(*), sum(length(v)), "
        "md5(group_concat(k order by v, k)) from t where k < 3000; select t1.v, count(*) from t t1 join t t2 on t1.k = t2.k + 7 group by t1.v "
        "order by 2 desc, 1 limit 5; check table t;")))
    run.stop(server, signal.SIGTERM)
    return digest_of(re.sub(r"\s+", " ", result[0])) + f" {len(result[0].split())} words"


SERVERS = (
    Program("Redis", "`redis-benchmark`, then a data set and its digest, two forks", ("redis-server",),
            ("redis-server", "redis-benchmark", "redis-cli"),
            ("redis-server", "--version"), redis),
    Program("memcached", "40,000 values set, 1,000 read", ("memcached",), ("memcached",),
            ("memcached", "-V"), memcached),
    Program("nginx", "600 pages compressed, a reload", ("nginx-light|nginx",), ("nginx",),
            ("nginx", "-v"), nginx),
    Program("Apache", "mpm_event: 600 pages, a graceful restart", ("apache2",), ("apache2",),
            ("apache2", "-v"), apache),
    Program("HAProxy", "400 pages from a server behind it", ("haproxy",), ("haproxy",),
            ("haproxy", "-v"), haproxy),
    Program("PostgreSQL", "`initdb`, `pgbench`, balances against the history", ("postgresql",), ("psql",),
            ("psql", "--version"), postgresql),
    Program("MariaDB", "InnoDB: inserts, updates, joins, check table", ("mariadb-server",), ("mariadbd", "mariadb-install-db", "mariadb"),
            ("mariadbd", "--version"), mariadb),
)
