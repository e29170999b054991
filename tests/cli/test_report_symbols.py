# SPDX-License-Identifier: Apache-2.0
"""`mallard report`: where names and lines come from when the program's file has none."""
from __future__ import annotations

import ctypes
import http.server
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

from .harness import Skip, Test
from .test_report_formats import compile_cxx, expect, good, line_of, report_of

RUST = """
#[inline(never)]
fn keep(store: &mut Vec<Box<[u8; 1000]>>) { store.push(Box::new([1u8; 1000])); }
mod deep { pub struct Tree<T>(pub Vec<Box<T>>);
  impl<T: Clone> Tree<T> {
    #[inline(never)] pub fn plant(&mut self, seed: &T) { self.0.push(Box::new(seed.clone())); } } }
fn main() {
  let mut store = Vec::new();
  for _ in 0..5000 { keep(&mut store); }
  let mut tree = deep::Tree(Vec::new());
  for _ in 0..5000 { tree.plant(&[7u8; 900]); }
  std::process::exit((store.len() + tree.0.len() == 1) as i32);
}
"""


def tool(*command: str | Path) -> None:
    if not shutil.which(str(command[0])):
        raise Skip(f"there is no {command[0]}")
    subprocess.run(command, check=True)


def test_report_uses_separate_debug_files(t: Test) -> None:
    program = compile_cxx(t)
    wanted = [f"store::Cache::make(unsigned long)  {t.dir}/inlining.c:{line_of('make')}  [inlining]  inlined",
              "store::fill(store::Cache&, int)"]
    debug = t.dir / "details.dbg"  # inlining.debug would be found without a link
    tool("objcopy", "--only-keep-debug", program, debug)
    tool("strip", program)
    report = report_of(t, program)
    stripped = good(t, report)
    expect("inlining+0x" in stripped and "store::" not in stripped, stripped)
    # The link's checksum holds for the file of this name beside the program.
    tool("objcopy", f"--add-gnu-debuglink={debug}", program)
    linked = good(t, report)
    expect(all(w in linked for w in wanted), linked)
    (t.dir / ".debug").mkdir()
    debug.rename(t.dir / ".debug" / debug.name)
    expect(all(w in good(t, report) for w in wanted), "in .debug/")
    (t.dir / ".debug" / debug.name).write_bytes(b"no debug file")
    expect("inlining+0x" in good(t, report), "another debug file is not used")


def test_report_uses_build_id_directories(t: Test) -> None:
    program = compile_cxx(t)
    debug = t.dir / "inlining.debug"
    tool("objcopy", "--only-keep-debug", program, debug)
    tool("strip", program)
    report = report_of(t, program)
    build_id = next(m["build_id"] for m in json.loads(report.read_text())["modules"] if m["path"] == str(program))
    place = Path("/usr/lib/debug/.build-id") / build_id[:2] / f"{build_id[2:]}.debug"
    if not os.access("/usr/lib", os.W_OK) or place.exists():
        raise Skip("/usr/lib/debug cannot be written to")
    new = next(p for p in (place, *place.parents) if p.parent.exists())
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(debug, place)
        expect(f"inlining.c:{line_of('make')}" in good(t, report), "stripped program, debug file by build-id")
        program.unlink()
        expect(f"inlining.c:{line_of('make')}" in good(t, report), "no program, debug file by build-id")
    finally:
        shutil.rmtree(new) if new.is_dir() else new.unlink()


class Served(http.server.BaseHTTPRequestHandler):
    """The two paths of a debuginfod server that matter here."""

    files: dict[str, bytes] = {}

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


def test_report_asks_debuginfod_servers(t: Test) -> None:
    program = compile_cxx(t)
    debug = t.dir / "details.dbg"
    tool("objcopy", "--only-keep-debug", program, debug)
    tool("strip", program)
    report = report_of(t, program)
    build_id = next(m["build_id"] for m in json.loads(report.read_text())["modules"] if m["path"] == str(program))
    Served.files = {f"/buildid/{build_id}/debuginfo": debug.read_bytes(),
                    f"/buildid/{build_id}/executable": program.read_bytes()}
    try:
        ctypes.CDLL("libdebuginfod.so.1")
    except OSError:
        raise Skip("there is no libdebuginfod") from None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"DEBUGINFOD_URLS": f"http://127.0.0.1:{server.server_port}", "DEBUGINFOD_CACHE_PATH": str(t.dir / "cache"),
               "DEBUGINFOD_TIMEOUT": "10", "no_proxy": "127.0.0.1"}
        wanted = f"inlining.c:{line_of('make')}  [inlining]  inlined"
        expect(wanted in t.run("report", report, env=env).stdout, "debug file from the server")
        program.unlink()
        done = t.run("report", report, env=env)
        expect(wanted in done.stdout and not done.stderr, ("program and debug file from the server", done))
        server.shutdown()
    expect("inlining+0x" in t.run("report", report, env={"DEBUGINFOD_URLS": ""}).stdout, "no server, no names")


def test_report_refuses_other_files(t: Test) -> None:
    program = compile_cxx(t)
    report = report_of(t, program)
    tool("strip", "-o", t.dir / "copy", program)
    tool("objcopy", "--remove-section=.note.gnu.build-id", program, t.dir / "nameless")
    other = t.compile("other")
    for replacement, found in ((other, None), (t.dir / "nameless", "none")):
        shutil.copy(replacement, program)
        done = t.run("report", report)
        lines = done.stderr.splitlines()
        expect(done.status == 0 and len(lines) == 1, done)
        expect(lines[0].startswith(f"mallard: warning: '{program}' is not the file that the process ran (its build-id "
                                   f"is {found or ''}") and
               lines[0].endswith("its frames are named as in the report"), lines)
        # The symbols that the library saw in the process, without lines.
        expect("store::fill(store::Cache&, int)  [inlining]" in done.stdout and "inlining.c" not in done.stdout,
               done.stdout)
    shutil.copy(t.dir / "copy", program)
    expect(not t.run("report", report).stderr, "the same build-id, though stripped")
    program.unlink()
    done = t.run("report", report)
    expect(f"mallard: warning: '{program}' cannot be opened: No such file or directory: its frames" in done.stderr and
           len(done.stderr.splitlines()) == 1 and "store::fill" in done.stdout, done)
    facts = json.loads(report.read_text())
    for frame in facts["frames"]:
        frame["function"] = ""
    report.write_text(json.dumps(facts))
    expect("inlining+0x" in t.run("report", report).stdout, "neither file nor names")


def test_report_names_rust(t: Test) -> None:
    if not shutil.which("rustc"):
        raise Skip("there is no rustc")
    source = t.dir / "tree.rs"
    source.write_text(RUST)
    for mangling in ("legacy", "v0"):
        program = t.dir / f"tree_{mangling}"
        done = subprocess.run(["rustc", "-g", "-O", "--crate-name=tree", "-C", f"symbol-mangling-version={mangling}", "-o", program, source],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0 and mangling == "legacy":  # newer compilers want -Z unstable-options for it
            done = subprocess.run(["rustc", "-g", "-O", "--crate-name=tree", "-o", program, source], capture_output=True, text=True,
                                  check=False)
        if done.returncode != 0:
            raise Skip(f"rustc fails: {done.stderr.strip().splitlines()[-1]}")
        text = good(t, report_of(t, program, mangling))
        expect("tree::keep" in text and f"{source}:3" in text, text)
        plant = next(line for line in text.splitlines() if "plant" in line)
        expect("Tree<" in plant and f"{source}:6" in plant and "_R" not in plant and "17h" not in plant, plant)
        expect("inlined" in text, text)
