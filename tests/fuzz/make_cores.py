#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small core files into a folder: a whole one, and what can be wrong with one."""
from __future__ import annotations

import struct
import sys
from pathlib import Path

PAGE = 4096
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45
PT_LOAD, PT_NOTE, PN_XNUM = 1, 4, 0xFFFF


def note(kind: int, content: bytes) -> bytes:
    name = b"CORE\0\0\0\0"
    return struct.pack("<III", 5, len(content), kind) + name + content + bytes(-len(content) % 4)


def mapped_files(entries: list[tuple[int, int, int, bytes]], count: int | None = None) -> bytes:
    table = b"".join(struct.pack("<QQQ", *entry[:3]) for entry in entries)
    names = b"".join(entry[3] + b"\0" for entry in entries)
    return note(NT_FILE, struct.pack("<QQ", len(entries) if count is None else count, PAGE) + table + names)


def core(notes: bytes, loads: list[tuple[int, int, bytes]], machine: int = 62, count: int | None = None) -> bytes:
    headers = 64 + 56 * (1 + len(loads))
    at = headers + len(notes)
    begin = -(-at // PAGE) * PAGE
    phdrs = struct.pack("<IIQQQQQQ", PT_NOTE, 0, headers, 0, 0, len(notes), 0, 1)
    memory = b""
    for address, size, content in loads:
        phdrs += struct.pack("<IIQQQQQQ", PT_LOAD, 6, begin + len(memory), address, 0, len(content), size, PAGE)
        memory += content
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56,
                                                       1 + len(loads) if count is None else count, 0, 0, 0)
    return header + phdrs + notes + bytes(begin - at) + memory


def main() -> int:
    to = Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    text, heap, stack = 0x400000, 0x600000, 0x7FFFF7000000
    status = note(NT_PRSTATUS, bytes(112) + struct.pack("<27Q", *range(19), stack + 64, *range(7)) + bytes(8))
    auxv = note(NT_AUXV, struct.pack("<6Q", 9, text + 64, 25, stack + 128, 0, 0))
    facts = note(NT_PRPSINFO, bytes(40) + b"program".ljust(16, b"\0") + b"program --option".ljust(80, b"\0"))
    files = mapped_files([(text, text + PAGE, 0, b"/bin/program"), (text + PAGE, text + 2 * PAGE, 1, b"/bin/a\nb\\c")])
    notes = status + facts + auxv + files
    memory = [(text, PAGE, b"\x7fELF\2\1\1".ljust(PAGE, b"\1")), (text + PAGE, PAGE, b""),
              (heap, 4 * PAGE, bytes(PAGE) + b"\3" * PAGE), (stack, PAGE, b"\2" * PAGE)]
    whole = core(notes, memory)
    cores = {
        "whole": whole,
        "cut_in_memory": whole[:-PAGE - 100],
        "cut_in_notes": whole[:500],
        "cut_in_headers": whole[:100],
        "other_machine": core(notes, memory, machine=183),
        "too_many_headers": core(notes, memory, count=60000),
        "headers_elsewhere": core(notes, memory, count=PN_XNUM),
        "overlapping": core(notes, memory + [(heap + PAGE, 8 * PAGE, b"\4" * PAGE), (heap, 1 << 46, b"")]),
        "odd_addresses": core(notes, [(heap + 5, PAGE, b"x" * PAGE), ((1 << 64) - PAGE, 2 * PAGE, b"y" * PAGE)] + memory),
        "files_that_lie": core(status + mapped_files([(text, text - 1, 1 << 60, b"/a"), (0, 1 << 47, 0, b"/b")], 1 << 60)
                               + mapped_files([(text, 1 << 47, 1 << 63, b"/memfd:x"), (text, text + 1, 0, b"x" * 5000)]),
                               memory),
        "notes_that_lie": core(struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 1) + status[:50], memory),
        "nothing": core(b"", []),
    }
    for name, content in cores.items():
        (to / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
