# SPDX-License-Identifier: Apache-2.0
"""What the real programs work on: made here, the same on every machine."""
from __future__ import annotations

import random
import subprocess
from pathlib import Path

from .measure import BenchError

SQL = """
create table t(id integer primary key, name text, grade real, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
  insert into t select i, 'name' || (i * 7919 % 10007), i * 0.37, printf('%.*c', i % 90, 'x') from n;
create index t_name on t(name);
select count(*), sum(grade) from t where name like 'name1%';
select name, count(*), max(length(note)) from t group by name order by 2 desc, 1 limit 20;
select a.id, b.id from t a join t b on a.name = b.name and a.id < b.id where a.id % 97 = 0 order by 1, 2 limit 50;
select group_concat(upper(name), ','), hex(substr(note, 1, 4)) from t where id % 50 = 0 group by id % 7;
update t set note = replace(note, 'xx', 'yz') || id where id % 3 = 0;
delete from t where id % 5 = 0;
select count(distinct note), json_group_array(name) is not null from t where id < 2000;
"""

PYTHON = """
import collections, io, json, re
table = {{str(i): {{"name": "n%d" % (i % 977), "values": list(range(i % 40)), "grade": i * 0.5}} for i in range({rows})}}
text = json.dumps(table)
again = json.loads(text)
words = re.findall(r"[a-z]\\d+", text)
counted = collections.Counter(words).most_common(50)
lines = io.StringIO()
for key, row in sorted(again.items(), key=lambda item: item[1]["name"]):
    lines.write("%s,%s,%.2f\\n" % (key, row["name"].upper(), sum(row["values"])))
joined = "".join(reversed(lines.getvalue().splitlines()))
blobs = [bytes(600 + i % 4000) for i in range({rows})]
assert len(again) == {rows} and counted and joined and len(blobs) == {rows}
"""

CPP = """
#include <algorithm>
#include <map>
#include <string>
#include <vector>
template <int N> struct Table {
  std::map<std::string, std::vector<int>> rows;
  void add(const std::string& key, int value) { rows[key + std::to_string(N)].push_back(value + N); }
  int best() const {
    int found = 0;
    for (const auto& [key, values] : rows)
      found = std::max(found, *std::max_element(values.begin(), values.end()) + static_cast<int>(key.size()));
    return found;
  }
};
"""


def write_sql(folder: Path, quick: bool) -> Path:
    path = folder / "script.sql"
    path.write_text(SQL.format(rows=6_000 if quick else 20_000))
    return path


def write_python(folder: Path, quick: bool) -> Path:
    path = folder / "script.py"
    path.write_text(PYTHON.format(rows=3_000 if quick else 10_000))
    return path


def write_cpp(folder: Path, quick: bool, compiler: str = "g++") -> Path:
    """A C++ file of mid size, preprocessed by the compiler that is to read it."""
    source, path = folder / "unit.cpp", folder / f"unit-{compiler}.ii"
    tables = range(1 if quick else 8)
    uses = "".join(f"int use{n}() {{ Table<{n}> t; t.add(\"a\", {n}); return t.best(); }}\n" for n in tables)
    source.write_text(CPP + uses)
    done = subprocess.run([compiler, "-std=c++17", "-E", "-P", str(source), "-o", str(path)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{compiler} -E: {done.stderr.strip()[-300:]}")
    return path


def redis_command(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        encoded = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(encoded), encoded))
    return b"".join(parts)


def write_redis(folder: Path, quick: bool) -> Path:
    """A stream of commands in redis's protocol."""
    path = folder / "commands.resp"
    dice = random.Random(1)
    with path.open("wb") as stream:
        for i in range(20_000 if quick else 240_000):
            key = f"{dice.randrange(20_000):05d}"
            stream.write(dice.choice((
                lambda: redis_command("SET", "s" + key, "v" * dice.randrange(8, 400)),
                lambda: redis_command("SET", "s" + key, "w" * dice.randrange(8, 80)),
                lambda: redis_command("GET", "s" + key),
                lambda: redis_command("DEL", "s" + key),
                lambda: redis_command("HSET", "h" + key[:3], "f" + key, "x" * dice.randrange(4, 60)),
                lambda: redis_command("RPUSH", "l" + key[:2], "item" * dice.randrange(1, 12)),
                lambda: redis_command("LPOP", "l" + key[:2]),
                lambda: redis_command("ZADD", "z" + key[:2], str(i), "m" + key),
                lambda: redis_command("APPEND", "s" + key, "tail" * dice.randrange(1, 20)),
            ))())
    return path


def write_lmdb(folder: Path, quick: bool) -> Path:
    """A dump for mdb_load: keys in no order, values of 20 to 300 bytes."""
    path = folder / "lmdb.dump"
    dice = random.Random(2)
    with path.open("w") as dump:
        dump.write("VERSION=3\nformat=print\ntype=btree\nmapsize=1073741824\nHEADER=END\n")
        for _ in range(10_000 if quick else 60_000):
            dump.write(f" {dice.getrandbits(48):012x}\n {'v' * dice.randrange(20, 300)}\n")
        dump.write("DATA=END\n")
    return path
