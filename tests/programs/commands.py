# SPDX-License-Identifier: Apache-2.0
"""Programs of the matrix that do their work and end: interpreters, compilers, converters."""
from __future__ import annotations

import re
from pathlib import Path

from support.framework import REPOSITORY

from .program import Program, Run, digest, digest_of

# Of CPython's own suite: memory, threads, forks, foreign functions, buffers; and no file that waits for seconds.
CPYTHON_TESTS = ("json", "dict", "list", "memoryview", "mmap", "posix", "zlib", "struct", "ctypes", "threading_local", "set", "array")


def cpython(run: Run) -> str:
    done = run.command("/usr/bin/python3", "-m", "unittest", *(f"test.test_{name}" for name in CPYTHON_TESTS), expect=None, PYTHONMALLOC="malloc")
    failed = re.findall(r"^(?:FAIL|ERROR): (\S+ \S+)", done.stderr, re.MULTILINE)
    counts = re.search(r"^Ran (\d+ tests)", done.stderr, re.MULTILINE)
    return f"{counts.group(1) if counts else 'no end'}, {done.stderr.strip().splitlines()[-1]} {', '.join(sorted(failed))}"


PERL = r"""
use strict; use warnings; use threads;
my %h; my $sum = 0;
for my $n (1 .. 60000) { my $k = sprintf("%x", ($n * 2654435761) & 0xffffffff); $h{$k} .= "v" x ($n % 90); }
for my $k (sort keys %h) { $sum += length($h{$k}); delete $h{$k} if $k =~ /^[0-7]/; }
my @t = map { my $i = $_; threads->create(sub { my $s = join ",", map { $_ * $i } 1 .. 40000; my $c = 0; $c++ while $s =~ /\d+/g; $c }) } 1 .. 4;
my $counts = join " ", map { $_->join } @t;
my @lines;
for my $i (1 .. 8) { my $pid = open(my $child, "-|") // die; if (!$pid) { print scalar(keys %h) + $i, "\n"; exit 0 } push @lines, <$child>; close $child; }
chomp @lines; print "$sum $counts @lines ", scalar(keys %h), "\n";
"""
RUBY = """
words = Hash.new(0)
200_000.times { |n| words[(n * 2654435761 & 0xffff).to_s(16)] += n % 7 }
threads = (1..4).map { |i| Thread.new { (1..30_000).map { |n| (n * i).to_s }.join(',').scan(/\\d+/).size } }
read, write = IO.pipe
child = fork { write.puts words.size; exit! 0 }
Process.wait child
GC.start
puts [words.values.sum, threads.map(&:value), read.gets.to_i, $?.exitstatus].inspect
"""
PHP = """
<?php
$loaded = array_values(array_filter(['dom', 'intl', 'mbstring', 'pdo_sqlite', 'gd', 'curl'], 'extension_loaded'));
$db = new PDO('sqlite::memory:'); $db->exec('create table t (k integer primary key, v text)');
for ($n = 0; $n < 20000; $n++) $db->exec("insert into t values ($n, '" . str_repeat('v', $n % 60) . "')");
$dom = new DOMDocument(); $root = $dom->appendChild($dom->createElement('r'));
for ($n = 0; $n < 40000; $n++) $root->appendChild($dom->createElement('e', "text $n"));
$xml = $dom->saveXML(); $again = new DOMDocument(); $again->loadXML($xml);
$sum = 0; foreach ($again->documentElement->childNodes as $e) $sum += mb_strlen($e->textContent);
$format = new NumberFormatter('de_DE', NumberFormatter::DECIMAL);
echo implode(' ', $loaded), ' ', $db->query('select sum(length(v)) from t')->fetchColumn(), " $sum ", $format->format(1234567.5), "\\n";
"""
NODE = """
const { Worker, isMainThread, parentPort } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto');
if (!isMainThread) {
  let b = Buffer.from('x'); for (let n = 0; n < 300; n++) b = zlib.inflateSync(zlib.deflateSync(Buffer.alloc(60000, n)));
  parentPort.postMessage(crypto.createHash('sha256').update(b).digest('hex').slice(0, 8));
} else {
  const map = new Map(); for (let n = 0; n < 300000; n++) map.set(`k${n}`, Buffer.alloc(n % 200));
  let bytes = 0; for (const b of map.values()) bytes += b.length;
  Promise.all([1, 2, 3].map(() => new Promise(done => new Worker(__filename).on('message', done))))
    .then(all => console.log(bytes, all.join(' ')));
}
"""
JAVA = """
import java.util.*; import java.util.concurrent.*; import java.util.zip.*; import java.nio.*;
public class Works {
  public static void main(String[] a) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4); List<Future<Long>> all = new ArrayList<>();
    for (int i = 0; i < 8; i++) { final int k = i; all.add(pool.submit(() -> {
      CRC32 crc = new CRC32(); Map<Integer, ByteBuffer> kept = new HashMap<>();
      for (int n = 0; n < 4000; n++) { ByteBuffer b = ByteBuffer.allocateDirect(512 + n % 700); b.putInt(0, n * k); kept.put(n % 500, b);
        Deflater d = new Deflater(); d.setInput(new byte[300]); d.finish(); byte[] out = new byte[100]; crc.update(out, 0, d.deflate(out)); d.end(); }
      for (int n = 0; n < 500; n++) crc.update(kept.get(n).getInt(0)); return crc.getValue(); })); }
    long sum = 0; for (Future<Long> f : all) sum += f.get(); pool.shutdown(); System.out.println(sum);
  }
}
"""
GO = """
package main
/*
#include <stdlib.h>
#include <string.h>
static void *fill(size_t n) { void *p = malloc(n); memset(p, (int)n, n); return p; }
static int sum(unsigned char *p, size_t n) { int s = 0; for (size_t i = 0; i < n; i++) s += p[i]; return s; }
*/
import "C"
import ("fmt"; "sync"; "unsafe")
func main() {
	var all sync.WaitGroup; results := make([]int, 8)
	for i := 0; i < 8; i++ { all.Add(1); go func(i int) { defer all.Done()
		var kept [200]unsafe.Pointer
		for n := 0; n < 700000; n++ { k := n % 200; if kept[k] != nil { results[i] += int(C.sum((*C.uchar)(kept[k]), 8)); C.free(kept[k]) }
			kept[k] = C.fill(C.size_t(16 + n % 3000)) }
		for _, p := range kept { C.free(p) } }(i) }
	all.Wait(); total := 0; for _, r := range results { total += r }; fmt.Println(total)
}
"""
RUST = """
use std::collections::BTreeMap; use std::thread;
fn main() {
    let all: Vec<_> = (1..5u64).map(|i| thread::spawn(move || {
        let mut m = BTreeMap::new();
        for n in 0..60_000u64 { m.insert(n.wrapping_mul(2654435761) % 9973, format!("{}", n * i)); }
        m.values().map(|v| v.len() as u64).sum::<u64>() })).collect();
    println!("{}", all.into_iter().map(|t| t.join().unwrap()).sum::<u64>());
}
"""
BASH = """
trap 'echo ended' EXIT
total=0
for n in $(seq 3000); do total=$((total + n)); done
for n in $(seq 60); do total=$((total + $(echo "$n" | wc -c))); done
words=$(for n in $(seq 2000); do echo "word$((n * 7919 % 1000))"; done | sort | uniq -c | sort -rn | head -3 | tr -d '\\n')
sleep 1
echo "$total $words"
"""


def script(name: str, text: str, *argv: str):
    def run(r: Run) -> str:
        path = r.folder / name
        path.write_text(text.lstrip("\n"))
        return r.command(*argv, path).stdout
    return run


def go(run: Run) -> str:
    """The tool and the compilers that it starts, then the program."""
    (run.folder / "works.go").write_text(GO)
    run.command("go", "build", "-o", run.folder / "works", run.folder / "works.go", watched=False,
                GOCACHE=str(run.t.session / "go"), GOPATH=str(run.folder / "gopath"), GOFLAGS="-mod=mod", GO111MODULE="off")
    return run.command(run.folder / "works").stdout


def rust(run: Run) -> str:
    (run.folder / "works.rs").write_text(RUST)
    run.command("rustc", "-O", "-o", run.folder / "works", run.folder / "works.rs")
    return run.command(run.folder / "works").stdout


def compiler(name: str, *flags: str):
    """A part of mallard; what comes out has to be the same to the byte."""
    def run(r: Run) -> str:
        made = []
        for source in ("base/numbers.cpp", "report/judge/trend.cpp"):
            made.append(r.folder / (Path(source).stem + ".o"))
            r.command(name, "-std=c++20", "-O2", "-c", "-o", made[-1], "-D_GNU_SOURCE", '-DMALLARD_VERSION="0"', *flags,
                      "-I", REPOSITORY, "-I", REPOSITORY / "arch/x86_64/include", REPOSITORY / source)
        return digest(*made)
    return run


def ffmpeg(run: Run) -> str:
    done = run.command("ffmpeg", "-v", "error", "-threads", "4", "-f", "lavfi", "-i", "testsrc2=duration=6:size=640x360:rate=25", "-f", "lavfi",
                       "-i", "sine=duration=6", "-vf", "scale=480:270,hue=h=90", "-c:v", "mpeg4", "-c:a", "aac", "-flags", "+bitexact",
                       "-fflags", "+bitexact", "-f", "framemd5", "-")
    return digest_of(done.stdout) + f" {len(done.stdout.splitlines())} lines"


def stress_ng(run: Run) -> str:
    done = run.command("stress-ng", "--malloc", "2", "--malloc-bytes", "64M", "--fork", "1", "--vm", "1", "--vm-bytes", "48M", "--sigq", "1",
                       "--sigsegv", "1", "--vfork", "1", "--pthread", "1", "--mmap", "1", "--mmap-bytes", "32M",
                       "--clone", "1", "--stack", "1", "--timeout", "4", "--verify", "--no-rand-seed", "--oomable", expect=None, first=True)
    failures = sorted(set(re.findall(r"(?:fail|error): \[\d+\] (.*)", done.stdout + done.stderr)))
    return f"status {done.status} {' '.join(failures)}"


def chromium(run: Run) -> str:
    page = run.folder / "page.html"
    page.write_text("<p id=p></p><script>let a=[];for(let n=0;n<300000;n++)a.push('x'+n);"
                    "document.getElementById('p').textContent=a.length+' '+a.join('').length</script>")
    done = run.command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={run.folder}/data",
                       "--virtual-time-budget=2000", "--dump-dom", f"file://{page}", first=True)
    found = re.search(r"<p id=\"p\">(.*?)</p>", done.stdout)
    return found.group(1) if found else f"no page: {done.stdout[-200:]}"


def sqlite(run: Run) -> str:
    return run.command("sqlite3", run.folder / "db", "pragma journal_mode=wal; create table t(k integer primary key, v text);"
                       "with recursive c(n) as (select 1 union all select n+1 from c where n<150000) insert into t select n, hex(n*7919%10007) from c;"
                       "create index i on t(v); select count(*), sum(length(v)), max(v) from t; select v, count(*) c from t group by v "
                       "order by c desc, v limit 3;").stdout


COMMANDS = (
    Program("CPython", f"{len(CPYTHON_TESTS)} files of its own suite, PYTHONMALLOC=malloc", ("libpython3.11-testsuite|libpython3-testsuite",),
            ("/usr/bin/python3",),
            ("python3", "--version"), cpython),
    Program("Perl", "hashes, ithreads, forks", ("perl",), ("perl",),
            ("perl", "-e", "printf q(%vd), $^V"), script("works.pl", PERL, "perl")),
    Program("Ruby", "hashes, threads, a fork", ("ruby",), ("ruby",),
            ("ruby", "--version"), script("works.rb", RUBY, "ruby")),
    Program("PHP", "extensions dom, intl, mbstring, pdo_sqlite, loaded with RTLD_DEEPBIND",
            ("php-cli", "php-xml", "php-mbstring", "php-sqlite3", "php-intl", "php-gd", "php-curl"), ("php",),
            ("php", "--version"), script("works.php", PHP, "php")),
    Program("Node.js", "buffers, zlib, three workers", ("nodejs",), ("node",),
            ("node", "--version"), script("works.js", NODE, "node")),
    Program("OpenJDK", "direct buffers, zlib, a pool of threads; started from source", ("default-jdk-headless",), ("java", "javac"),
            ("java", "-version"), script("Works.java", JAVA, "java", "-Xmx256m")),
    Program("Go", "`go build` of a program with cgo, and the program", ("golang-go",), ("go", "gcc"),
            ("go", "version"), go),
    Program("rustc", "`rustc -O` of a program with threads, and the program", ("rustc",), ("rustc",),
            ("rustc", "--version"), rust),
    Program("gcc", "two files of mallard", ("g++",), ("g++",),
            ("g++", "-dumpfullversion"), compiler("/usr/bin/g++")),
    Program("clang", "two files of mallard", ("clang",), ("clang++",),
            ("clang++", "--version"), compiler("clang++")),
    Program("bash", "pipes, substitutions, an EXIT trap", ("bash",), ("bash",),
            ("bash", "--version"), script("works.sh", BASH, "bash")),
    Program("SQLite", "a table of 150,000 rows, an index", ("sqlite3",), ("sqlite3",),
            ("sqlite3", "--version"), sqlite),
    Program("FFmpeg", "six seconds made, filtered, encoded", ("ffmpeg",), ("ffmpeg",),
            ("ffmpeg", "-version"), ffmpeg),
    Program("stress-ng", "malloc, fork, vfork, clone, vm, mmap, stack, pthread, sigq, sigsegv, each 4 s, verified", ("stress-ng",),
            ("stress-ng",),
            ("stress-ng", "--version"), stress_ng),
    Program("Chromium", "headless, a page with a script", ("chromium",), ("chromium",),
            ("chromium", "--version"), chromium),
)
