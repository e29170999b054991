# SPDX-License-Identifier: Apache-2.0
"""`mallard check` of files."""
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

from .harness import Failure, Skip, Test

OWN_MALLOC = """
#include <stddef.h>
static char pool[1 << 16]; static size_t used;
void* malloc(size_t n) { void* p = pool + used; used += (n + 15) & ~15ul; return p; }
void free(void* p) { (void)p; }
int main(void) { free(malloc(10)); return 0; }
"""
EMBEDDED = """
#include <stdlib.h>
static void* keep(size_t n) { return malloc(n); }
void* mi_malloc(size_t n) { return keep(n); }
int mi_version(void) { return 217; }
int main(void) { return mi_malloc(10) == 0 || mi_version() == 0; }
"""
JEMALLOC_TEXTS = """
#include <stdlib.h>
#include <sys/mman.h>
const char* volatile texts[] = {"<jemalloc>: Malformed conf string\\n", "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c"};
int main(int n, char** v) { (void)v; return n > 9 ? mmap(0, 4096, 0, 0, 0, 0) != 0 : texts[n & 1][0] == 'x'; }
"""


def test_dynamic(t: Test) -> None:
    t.compile("a.out")
    t.expect(t.check("./a.out"), 0, "nothing in the way", "next step: LD_PRELOAD=", "./a.out",
             verdict="mallard will see every malloc of 'a.out'")


def test_not_pie(t: Test) -> None:
    t.compile("a.out", "-no-pie", source="#include <stdlib.h>\nvoid* (*volatile f)(size_t) = malloc;\n"
              "int main(void) { return f(1) == 0; }\n")
    t.expect(t.check("./a.out"), 0, verdict="will see every malloc")


def test_command_in_path(t: Test) -> None:
    name = Path(os.path.realpath(shutil.which("ls") or "/bin/ls")).name
    t.expect(t.check(name), 0, verdict=f"mallard will see every malloc of '{name}'")


def test_static(t: Test) -> None:
    t.compile("a.out", "-static")
    t.expect(t.check("./a.out"), 1, "next step: link it dynamically",
             verdict="mallard will not see any malloc of 'a.out': it is statically linked: no loader")


def test_static_pie(t: Test) -> None:
    t.compile("a.out", "-static-pie")
    t.expect(t.check("./a.out"), 1, verdict="it is statically linked (static-pie)")


def test_static_stripped(t: Test) -> None:
    t.compile("a.out", "-static", "-s")
    t.expect(t.check("./a.out"), 1, verdict="it is statically linked")


def test_set_uid_and_set_gid(t: Test) -> None:
    program = t.compile("a.out")
    for mode, word in ((0o4755, "set-uid"), (0o2755, "set-gid")):
        program.chmod(mode)
        t.expect(t.check("./a.out"), 1, "next step: run a copy", verdict=f"it is {word}, so the loader ignores LD_PRELOAD")


def test_file_capabilities(t: Test) -> None:
    program = t.compile("a.out")
    # VFS_CAP_REVISION_2 with CAP_NET_RAW permitted.
    try:
        os.setxattr(program, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    except OSError as error:
        raise Skip(f"file capabilities cannot be set here: {error.strerror}") from error
    t.expect(t.check("./a.out"), 1, verdict="it is given file capabilities")


def test_other_machines(t: Test) -> None:
    content = bytearray(t.compile("a.out").read_bytes())
    other = t.dir / "other"
    for elf_class, machine, text in ((1, 3, "32-bit program for i386"), (1, 62, "32-bit program for x32"),
                                     (2, 183, "64-bit program for AArch64"), (2, 0x1234, "machine 0x1234")):
        content[4] = elf_class
        content[18:20] = struct.pack("<H", machine)
        other.write_bytes(content)
        t.expect(t.check("./other"), 1, verdict=text)


def test_own_malloc(t: Test) -> None:
    t.compile("a.out", source=OWN_MALLOC)
    t.expect(t.check("./a.out"), 1, verdict="it defines malloc itself and exports it")


def test_hidden_malloc(t: Test) -> None:
    t.compile("a.out", "-fvisibility=hidden", source=OWN_MALLOC)
    t.expect(t.check("./a.out"), 1, verdict="will not see every malloc of 'a.out': it defines malloc for itself")


def test_embedded_by_symbols(t: Test) -> None:
    t.compile("a.out", source=EMBEDDED)
    t.expect(t.check("./a.out"), 1, verdict="it carries mimalloc 2.1.7 inside (mi_malloc)")
    for symbol, name in (("_rjem_malloc", "jemalloc"), ("tc_malloc", "tcmalloc"), ("sn_rust_alloc", "snmalloc"),
                         ("rpmalloc", "rpmalloc"), ("scudo_malloc", "Scudo")):
        t.compile("a.out", source=EMBEDDED.replace("mi_malloc", symbol).replace("mi_version", "version"))
        t.expect(t.check("./a.out"), 1, verdict=f"it carries {name} inside ({symbol})")


def test_embedded_by_texts(t: Test) -> None:
    t.compile("a.out", "-s", source=JEMALLOC_TEXTS)
    t.expect(t.check("./a.out"), 1, verdict="it carries jemalloc 5.3.0 inside (by its messages)")
    t.compile("a.out", "-s", source=JEMALLOC_TEXTS.replace("n > 9 ? mmap(0, 4096, 0, 0, 0, 0) != 0 : ", ""))
    t.expect(t.check("./a.out"), 0, verdict="will see every malloc")  # what maps no memory is no allocator


def test_embedded_and_static(t: Test) -> None:
    t.compile("a.out", "-static", source=EMBEDDED)
    t.expect(t.check("./a.out"), 1, "carries mimalloc 2.1.7 inside", verdict="it is statically linked")


def test_embedded_in_a_library(t: Test) -> None:
    t.compile("libinner.so", "-shared", "-fPIC", source=EMBEDDED)
    t.compile("libouter.so", "-shared", "-fPIC", "-L.", f"-L{t.dir}", "-Wl,--no-as-needed", "-linner",
              "-Wl,-rpath,$ORIGIN", source="int outer(void) { return 1; }\n")
    t.compile("a.out", f"-L{t.dir}", "-Wl,--no-as-needed", "-louter", f"-Wl,-rpath-link,{t.dir}", "-Wl,-rpath,$ORIGIN")
    t.expect(t.check("./a.out"), 1, "libinner.so\n  not seen: carries mimalloc 2.1.7",
             verdict="mallard will not see every malloc of 'a.out': 'libinner.so' carries mimalloc")


def test_library_found_by_environment_or_missing(t: Test) -> None:
    (t.dir / "lib").mkdir()
    t.compile("lib/libfar.so", "-shared", "-fPIC", source="int far(void) { return 1; }\n")
    t.compile("a.out", f"-L{t.dir}/lib", "-Wl,--no-as-needed", "-lfar")
    t.expect(t.check("./a.out"), 1, "next step: install it, or set LD_LIBRARY_PATH",
             verdict="'libfar.so' is needed by './a.out' and was not found")
    t.expect(t.check("./a.out", env={"LD_LIBRARY_PATH": "lib"}), 0)
    with_an_empty_entry = (":nowhere", "nowhere::gone", "nowhere:", ";nowhere")  # the loader takes it for "."
    for path in (*with_an_empty_entry, ""):
        t.expect(t.check("./a.out", env={"LD_LIBRARY_PATH": path}), 1, verdict="'libfar.so' is needed")
    (t.dir / "lib" / "libfar.so").rename(t.dir / "libfar.so")
    for path in with_an_empty_entry:
        t.expect(t.check("./a.out", env={"LD_LIBRARY_PATH": path}), 0)
    t.expect(t.check("./a.out", env={"LD_LIBRARY_PATH": ""}), 1, verdict="'libfar.so' is needed")


def test_names_that_steer_terminals(t: Test) -> None:
    t.compile("a.out")
    for control in ("\x1b[2J", "\x7f", "\x80", "\x9b2J", "\x9f"):
        os.rename(t.dir / "a.out", t.dir / f"a{control}b")
        done = t.check(f"./a{control}b")
        t.expect(done, 0, "a?")
        if control[0] in done.stdout:
            raise Failure(f"{control!r} is printed: {done.stdout!r}")
        os.rename(t.dir / f"a{control}b", t.dir / "a.out")


def test_symbolic_library(t: Test) -> None:
    source = OWN_MALLOC.replace("main", "work")
    t.compile("libown.so", "-shared", "-fPIC", "-Wl,-Bsymbolic", source=source)
    t.compile("a.out", f"-L{t.dir}", "-Wl,--no-as-needed", "-lown", "-Wl,-rpath,$ORIGIN")
    t.expect(t.check("./a.out"), 1, verdict="'libown.so' binds its own calls to the malloc that it defines (-Bsymbolic)")
    t.compile("libown.so", "-shared", "-fPIC", source=source)
    t.expect(t.check("./a.out"), 0, "note: defines malloc too", "goes on serving")


def test_allocator_library(t: Test) -> None:
    library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
    if not os.path.exists(library):
        raise Skip(f"there is no {library}")
    t.compile("a.out", "-Wl,--no-as-needed", library)
    t.expect(t.check("./a.out"), 0, "note: is jemalloc 5.", "goes on serving", verdict="will see every malloc")
    t.compile("a.out", library, source="#include <stddef.h>\nvoid* mallocx(size_t, int);\n"
              "int main(void) { return mallocx(10, 0) == 0; }\n")
    t.expect(t.check("./a.out"), 0, "note: calls mallocx() of jemalloc by name, which mallard sees",
             verdict="will see every malloc")
    t.compile("libje.so", "-shared", "-fPIC", source="void* je_malloc(unsigned long n) { return (void*)n; }\n")
    t.compile("b.out", f"-L{t.dir}", "-lje", "-Wl,-rpath,$ORIGIN", source="void* je_malloc(unsigned long);\n"
              "int main(void) { return je_malloc(10) == 0; }\n")
    t.expect(t.check("./b.out"), 1, verdict="calls je_malloc() of jemalloc by name")


def test_sanitizers(t: Test) -> None:
    t.compile("a.out", "-fsanitize=address")
    t.expect(t.check("./a.out"), 1, verdict="it is built with AddressSanitizer")
    t.compile("a.out", "-fsanitize=undefined")
    t.expect(t.check("./a.out"), 0)


def test_musl(t: Test) -> None:
    t.compile("a.out", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
    t.expect(t.check("./a.out"), 1, verdict="it uses musl")


def test_interpreter_missing(t: Test) -> None:
    t.compile("a.out", "-Wl,--dynamic-linker=/lib/no-such-loader.so")
    t.expect(t.check("./a.out"), 1, verdict="needs the interpreter '/lib/no-such-loader.so', which is not here")


def test_go(t: Test) -> None:
    if not shutil.which("go"):
        raise Skip("there is no go")
    (t.dir / "main.go").write_text('package main\nfunc main() { println("hello") }\n')
    (t.dir / "cgo.go").write_text('package main\n// #include <stdlib.h>\nimport "C"\nfunc main() { C.free(C.malloc(10)) }\n')
    for source, cgo, verdict in (("main.go", "0", "statically linked: Go has an allocator of its own"),
                                 ("cgo.go", "1", "mallard sees only what C code (cgo) allocates")):
        done = subprocess.run(["go", "build", "-ldflags=-s -w", "-o", "a.out", source], cwd=t.dir, capture_output=True,
                              text=True, check=False,
                              env={**os.environ, "CGO_ENABLED": cgo, "GO111MODULE": "off", "GOFLAGS": "",
                                   "GOCACHE": str(t.dir / "cache"), "HOME": str(t.dir)})
        if done.returncode != 0:
            raise Skip(f"go build fails: {done.stderr.strip()}")
        t.expect(t.check("./a.out"), 1, "is a Go program (go1.", verdict=verdict)


def test_scripts(t: Test) -> None:
    t.compile("a.out")
    (t.dir / "one").write_text(f"#! {t.dir}/a.out -x\n")
    t.expect(t.check("./one"), 0, f"'./one' is a script, run by '{t.dir}/a.out'", verdict="every malloc of 'one'")
    (t.dir / "two").write_text(f"#!{t.dir}/one\n")
    t.expect(t.check("./two"), 0, "'./two' is a script", f"'{t.dir}/one' is a script")
    (t.dir / "env").write_text("#!/usr/bin/env -S sh -e\n")
    t.expect(t.check("./env"), 0, "'./env' is a script, run by '/")
    (t.dir / "loop").write_text(f"#!{t.dir}/loop\n")
    t.expect(t.check("./loop"), 3, error="leads from script to script without end")
    (t.dir / "none").write_text("#!\n")
    t.expect(t.check("./none"), 3, error="the script './none' names no interpreter")
    (t.dir / "gone").write_text("#!/no/such/interpreter\n")
    t.expect(t.check("./gone"), 3, error="'/no/such/interpreter' cannot be opened: No such file or directory")


def test_unreadable(t: Test) -> None:
    (t.dir / "text").write_text("hello\n")
    (t.dir / "empty").write_text("")
    os.mkfifo(t.dir / "fifo")
    t.expect(t.check("./text"), 3, error="'./text' is neither an ELF file nor a script")
    t.expect(t.check("./empty"), 3, error="'./empty' is neither an ELF file nor a script")
    t.expect(t.check("./missing"), 3, error="mallard: error: './missing' cannot be opened: No such file or directory")
    t.expect(t.check("no-such-command"), 3, error="mallard: hint: there is no command of that name in PATH either")
    t.expect(t.check("."), 3, error="mallard: error: '.' cannot be read: Is a directory")
    t.expect(t.check("./fifo"), 3, error="'./fifo' cannot be read: Not a regular file")
    t.expect(t.check(""), 3, error="'' cannot be opened")


def test_object_file(t: Test) -> None:
    t.compile("a.o", "-c")
    t.expect(t.check("./a.o"), 3, error="'./a.o' is no program: it is an object file")


def test_truncated(t: Test) -> None:
    content = t.compile("a.out").read_bytes()
    cut = t.dir / "cut"
    for length in (4, 10, 19, 20, 63, 64, 100, 500, 1000, 4096, 8192):
        cut.write_bytes(content[:length])
        t.expect(t.check("./cut"), 3, error="mallard: error: './cut' is damaged: ")


def test_damaged(t: Test) -> None:
    """Anything may come out of a damaged file, but no crash and no hang."""
    generator = random.Random(4711)
    content = t.compile("a.out").read_bytes()
    sections = struct.unpack_from("<Q", content, 40)[0]
    places = [*range(4, 1200), *range(sections, len(content))]
    for _ in range(150):
        copy = bytearray(content)
        for _ in range(generator.randint(1, 6)):
            copy[generator.choice(places)] = generator.choice((0, 0xff, generator.randrange(256)))
        (t.dir / "b.out").write_bytes(copy)
        t.check("./b.out")


def test_without_section_headers(t: Test) -> None:
    copy = bytearray(t.compile("a.out", source=OWN_MALLOC).read_bytes())
    copy[40:48] = bytes(8)
    copy[60:64] = bytes(4)
    (t.dir / "b.out").write_bytes(copy)
    t.expect(t.check("./b.out"), 1, verdict="it defines malloc itself")


def test_json_output(t: Test) -> None:
    t.compile("a.out", source=OWN_MALLOC)
    result = t.check_json("./a.out")
    if result["schema_version"] != 1 or result["verdict"]["sees"] != "nothing":
        raise Failure(str(result))
    if result["objects"][0]["findings"][0]["id"] != "own_malloc" or "process" in result:
        raise Failure(str(result))
    odd = t.dir / os.fsdecode(b"odd\xff\n")
    shutil.copy(t.dir / "a.out", odd)
    t.check_json(odd)
    if "\n" in t.check(odd).verdict or "odd" not in t.check(odd).verdict:
        raise Failure("a path with a newline breaks the verdict")


def test_usage(t: Test) -> None:
    t.expect(t.run(), 2, error="mallard: hint: 'mallard --help' shows the usage")
    t.expect(t.run("frobnicate"), 2, error="there is no subcommand 'frobnicate'")
    t.expect(t.check(), 2, error="mallard: hint: 'mallard check --help' shows the usage")
    t.expect(t.check("a", "b"), 2, error="the following argument was not expected: b")
    t.expect(t.check("--frobnicate", "a"), 2, error="--frobnicate")
    t.expect(t.run("--version"), 0, verdict="mallard 0.")
    t.expect(t.run("--help"), 0, "check", "Exit status")
    t.expect(t.check("--help"), 0, "Examples:", "mallard check redis-server")


def test_full_device(t: Test) -> None:
    t.compile("a.out")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([t.mallard, "check", "./a.out"], stdout=full, stderr=subprocess.PIPE, text=True,
                              cwd=t.dir, check=False)
    if done.returncode != 3 or "cannot be written" not in done.stderr:
        raise Failure(f"status {done.returncode}: {done.stderr}")


def test_every_command_notices_a_full_device(t: Test) -> None:
    """In one line, also where the text is longer than what stdio keeps."""
    for arguments in (["--help"], ["--version"], ["completions", "bash"], ["completions", "zsh"], ["check", "--help"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([t.mallard, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 3 or done.stderr != "mallard: error: the result cannot be written to standard output\n":
            raise Failure(f"{arguments}: status {done.returncode}: {done.stderr}")


def test_what_was_recognised_is_in_the_json(t: Test) -> None:
    t.compile("a.out", source=EMBEDDED)
    t.compile("b.out", "-s", source=JEMALLOC_TEXTS)
    for name, expected in (("a.out", {"name": "mimalloc", "version": "2.1.7", "recognised_by": "mi_malloc"}),
                           ("b.out", {"name": "jemalloc", "version": "5.3.0", "recognised_by": "by its messages"})):
        program = t.check_json(f"./{name}")["objects"][0]
        found = [f["allocator"] for f in program["findings"] if "allocator" in f]
        if found != [expected]:
            raise Failure(f"{name}: {found} instead of {expected}")


def test_managed_heaps_are_notes(t: Test) -> None:
    t.compile("a.out", "-rdynamic", source="void* PyObject_Malloc(unsigned long n) { return (void*)n; }\n"
              "int main(void) { return PyObject_Malloc(0) != 0; }\n")
    t.expect(t.check("./a.out"), 0, "note: has CPython's pymalloc", "hint: PYTHONMALLOC=malloc",
             verdict="mallard will see every malloc of 'a.out'")


def test_where_malloc_of_each_object_leads(t: Test) -> None:
    uses = "#include <stdlib.h>\nvoid* give(void) { return malloc(10); }\n"
    main = "void* give(void);\nint main(void) { return give() == 0; }\n"
    for options, source, expected in (((), uses, "mallard"),
                                      (("-Wl,-Bsymbolic",), "#include <stddef.h>\nvoid* malloc(size_t n) { return (void*)n; }\n"
                                       "void* give(void) { return malloc(10); }\n", "itself")):
        library = t.compile("libgive.so", "-shared", "-fPIC", *options, source=source)
        t.compile("a.out", str(library), f"-Wl,-rpath,{t.dir}", source=main)
        objects = {Path(o["path"]).name: o["malloc_from"] for o in t.check_json("./a.out")["objects"]}
        if objects.get("libgive.so") != expected or objects["a.out"] is not None:
            raise Failure(f"malloc_from is {objects}, expected {expected} for libgive.so and nothing for a.out")
    t.compile("own.out", "-rdynamic", source=OWN_MALLOC)
    if t.check_json("./own.out")["objects"][0]["malloc_from"] != "itself":
        raise Failure("a program that exports malloc calls its own")
