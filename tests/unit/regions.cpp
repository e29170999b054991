// SPDX-License-Identifier: Apache-2.0
// Whose the mappings of a process are: of processes that are made up, and of this one.
#include "report/facts/regions.hpp"

#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <thread>
#include <tuple>

#include "elf/loaded_objects.hpp"
#include "heaps/glibc_layout.hpp"
#include "record/mappings.hpp"
#include "report/facts/glibc_memory.hpp"
#include "tests/unit/made_up_mappings.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uintptr_t kPage = kPageBytes, kArenaBytes = 64u << 20;

/// A chunk that glibc's malloc mapped by itself, at the begin of pages that are there.
void put_mapped_chunk(MadeUpProcess& process, std::uintptr_t at, std::uint64_t bytes) {
  process.put(at + 8, bytes | heaps::glibc::kMapped);
}
void put_arena(MadeUpProcess& process, std::uintptr_t at, std::uint64_t bytes) {
  process.put(at, heaps::glibc::HeapInfo{at + 48, 0, bytes, bytes});
}

}  // namespace

TEST_CASE("regions: a mapping's owner and name, by its path") {
  Mapped m;
  std::uintptr_t next = 0x10'0000'0000;
  using Row = std::tuple<const char*, const char*, Owner, const char*, const char*>;
  const std::initializer_list<Row> rows = {
      {"rw-p", "0 [stack]", Owner::kStack, "main", ""},
      {"r--p", "0 [vvar]", Owner::kKernel, "[vvar]", ""},
      {"r-xp", "0 [vsyscall]", Owner::kKernel, "[vsyscall]", ""},
      {"rw-p", "9 /anon_hugepage (deleted)", Owner::kKernel, "/anon_hugepage", ""},
      {"rw-s", "9 /dev/hugepages/x", Owner::kKernel, "/dev/hugepages/x", ""},
      {"r--p", "9 /data/a file", Owner::kFile, "/data/a file", ""},
      {"rw-s", "9 /data/a file", Owner::kFile, "/data/a file", ""},
      {"rw-p", "0 ", Owner::kAnonymous, "", ""},
      {"---p", "0 ", Owner::kAnonymous, "", ""},
      {"rw-p", "0 [anon: jemalloc_something]", Owner::kAnonymous, "", "jemalloc"},
      {"rw-p", "0 [anon:hardened_malloc_metadata]", Owner::kAnonymous, "", "hardened_malloc"},
      {"rw-p", "9 /dev/zero", Owner::kAnonymous, "", ""},
      {"rw-s", "9 /dev/zero (deleted)", Owner::kShared, "anonymous", ""},
      {"rw-s", "9 /memfd:java_heap (deleted)", Owner::kShared, "memfd java_heap",
       "the heap of a Java VM (ZGC)"},
  };
  for (const auto& [rights, what, owner, name, allocator] : rows) {
    m.line(next, next + kPage, rights, what, 3 * kPage);
    next += 2 * kPage;
  }
  m.read();
  REQUIRE(m.regions.all.size() == rows.size());
  const Region* r = m.regions.all.data();
  for (const auto& [rights, what, owner, name, allocator] : rows) {
    CAPTURE(what);
    CHECK(r->owner == owner);
    CHECK(r->name == name);
    CHECK(r->allocator == allocator);
    CHECK(r->end - r->begin == kPage);
    CHECK(r->readable == (rights[0] == 'r'));
    CHECK(r->writable == (rights[1] == 'w'));
    CHECK(r->shared == (rights[3] == 's'));
    // Kernel pages aside, that is what has no file behind it, and nobody else.
    CHECK(r->private_anonymous ==
          ((what[0] == '0' || owner == Owner::kAnonymous) && rights[3] != 's'));
    CHECK(r->inode == static_cast<std::uint64_t>(what[0] - '0'));
    CHECK(r->offset == 3 * kPage);
    CHECK(r->device == 0x801);
    CHECK(!r->is_brk);
    ++r;
  }
}

TEST_CASE("regions: what of a loaded object's segments is mapped over has another owner") {
  Mapped m;
  constexpr std::uintptr_t kObject = 0x10'0000'0000, kCut = kObject + 64 * kPage;
  m.object(kObject, "5 /lib/libx.so");
  m.line(kObject + 3 * kPage, kObject + 5 * kPage, "rw-p");
  m.object(kCut, "6 /lib/liby.so");
  m.maps.resize(m.maps.rfind('\n', m.maps.size() - 2) + 1);
  m.line(kCut + 2 * kPage, kCut + 3 * kPage, "rw-p", "7 /data/over it");
  m.line(kCut + 3 * kPage, kCut + 4 * kPage, "rw-p", "6 /lib/liby.so", 3 * kPage);
  m.read();
  for (std::uintptr_t page : {0, 1, 2}) {
    CHECK(m.at(kObject + page * kPage).owner == Owner::kFile);
    CHECK(m.at(kObject + page * kPage).name == "/lib/libx.so");
  }
  CHECK(m.at(kObject + 2 * kPage).private_anonymous);
  CHECK(m.at(kObject + 3 * kPage).owner == Owner::kAnonymous);
  CHECK(m.at(kObject + 3 * kPage).end == kObject + 5 * kPage);
  CHECK(m.at(kCut + 2 * kPage).name == "/data/over it");
  CHECK(m.at(kCut + 3 * kPage).name == "/lib/liby.so");
}

TEST_CASE("regions: one mapping may be .bss and somebody else's memory") {
  Mapped m;
  constexpr std::uintptr_t kObject = 0x10'0000'0000;
  m.object(kObject, "5 /lib/libx.so");
  m.maps.resize(m.maps.rfind('\n', m.maps.size() - 2) + 1);
  m.line(kObject + 2 * kPage, kObject + 9 * kPage, "rw-p");
  m.read();
  REQUIRE(m.regions.all.size() == 4);
  CHECK(m.at(kObject + 2 * kPage).name == "/lib/libx.so");
  CHECK(m.at(kObject + 2 * kPage).end == kObject + 3 * kPage);
  CHECK(m.at(kObject + 3 * kPage).owner == Owner::kAnonymous);
  CHECK(m.at(kObject + 3 * kPage).end == kObject + 9 * kPage);
}

TEST_CASE("regions: memory that nobody saw mapped is glibc's where it looks like its heaps") {
  Mapped m;
  constexpr std::uintptr_t kArena = kArenaBytes * 0x400, kChunk = kArena + 2 * kArenaBytes;
  m.process.map(kArena, 4 * kPage);
  put_arena(m.process, kArena, 4 * kPage);
  m.line(kArena, kArena + 4 * kPage, "rw-p");
  m.line(kArena + 4 * kPage, kArena + kArenaBytes, "---p");
  // A chunk of three pages in two mappings, as madvise() cuts them, with other memory behind it.
  m.process.map(kChunk, 3 * kPage);
  put_mapped_chunk(m.process, kChunk, 3 * kPage);
  m.line(kChunk, kChunk + 2 * kPage, "rw-p");
  m.line(kChunk + 2 * kPage, kChunk + 6 * kPage, "rw-p");
  m.line(kChunk + 6 * kPage, kChunk + kArenaBytes, "---p");
  // One that would end in memory which cannot be written is none.
  constexpr std::uintptr_t kCut = kChunk + 2 * kArenaBytes;
  m.process.map(kCut, kPage);
  put_mapped_chunk(m.process, kCut, 3 * kPage);
  m.line(kCut, kCut + 2 * kPage, "rw-p");
  m.line(kCut + 2 * kPage, kCut + 6 * kPage, "r--p");
  // What cannot be accessed behind a chunk is somebody's reservation, or the guard of a stack.
  constexpr std::uintptr_t kBare = kCut + kArenaBytes;
  m.process.map(kBare, 2 * kPage);
  put_mapped_chunk(m.process, kBare, 2 * kPage);
  m.line(kBare, kBare + 2 * kPage, "rw-p");
  m.line(kBare + 2 * kPage, kBare + 9 * kPage, "---p");
  // An arena at the end of a block of addresses has no part of the next.
  constexpr std::uintptr_t kLast = kCut + 2 * kArenaBytes;
  m.process.map(kLast, 2 * kPage);
  put_arena(m.process, kLast, 2 * kPage);
  m.line(kLast, kLast + 2 * kPage, "rw-p");
  m.line(kLast + 2 * kPage, kLast + kArenaBytes + kPage, "---p");
  m.read();
  for (const auto& [address, end, allocator] :
       {std::tuple(kArena, kArena + 4 * kPage, kGlibcMalloc),
        {kArena + 4 * kPage, kArena + kArenaBytes, kGlibcMalloc},
        {kChunk, kChunk + 2 * kPage, kGlibcMalloc},
        {kChunk + 2 * kPage, kChunk + 3 * kPage, kGlibcMalloc},
        {kChunk + 3 * kPage, kChunk + 6 * kPage, std::string_view()},
        {kChunk + 6 * kPage, kChunk + kArenaBytes, std::string_view()},
        {kCut, kCut + 2 * kPage, std::string_view()},
        {kBare, kBare + 2 * kPage, kGlibcMalloc},
        {kBare + 2 * kPage, kBare + 9 * kPage, std::string_view()},
        {kLast, kLast + 2 * kPage, kGlibcMalloc},
        {kLast + 2 * kPage, kLast + kArenaBytes + kPage, std::string_view()}}) {
    CAPTURE(address);
    const Region& r = m.at(address);
    CHECK(r.begin == address);
    CHECK(r.end == end);
    CHECK(r.owner == Owner::kAnonymous);
    CHECK(r.allocator == allocator);
  }
}

namespace {

/// A main heap of one large chunk and the top.
void put_main_heap(MadeUpProcess& process, std::uintptr_t at, std::size_t pages) {
  process.map(at, pages * kPage);
  process.put(at + 8, std::uint64_t{kPage | 1});
  process.put(at + kPage + 8, std::uint64_t{(pages - 1) * kPage | 1});
}

constexpr std::uintptr_t kOwn = 0x10'0000'0000, kBackend = kOwn + 64 * kPage, kOther = kBackend + 64 * kPage,
                         kBreak = kOther + 64 * kPage, kMapped = kBreak + 64 * kPage;

/// A process with mallard, an allocator that serves, and another object; all of them mapped memory.
struct Recorded : Mapped {
  Recorded(const std::string& server, const char* name) {
    process.adopt_books();
    object(kOwn, "5 /lib/libmallard.so.0");
    object(kBackend, "6 /lib/" + server);
    object(kOther, "7 /lib/libother.so");
    put_main_heap(process, kBreak, 4);
    line(kBreak, kBreak + 4 * kPage, "rw-p", "0 [heap]");
    line(kMapped, kMapped + 40 * kPage, "rw-p");
    served.own_at = kOwn + 100;
    served.backend_at = kBackend + 100;
    backends::set_text(backend.name, sizeof backend.name, name);
    record::on_map(kMapped, 4 * kPage, kBackend + 200);
    record::on_map(kMapped + 8 * kPage, 4 * kPage, kOther + 200);
    record::on_map(kMapped + 16 * kPage, 4 * kPage, 0x1000);
  }
  ~Recorded() { record::on_unmap(kMapped, 40 * kPage, nullptr); }
};

}  // namespace

TEST_CASE("regions: of a process with mallard the log tells who mapped what") {
  Recorded m("libtcmalloc.so.4", "tcmalloc");
  const os::OwnRange own[] = {{kMapped + 24 * kPage, kMapped + 26 * kPage}};
  m.served.own_ranges = own;
  m.served.unknown_own_ranges = 3;
  m.read();
  CHECK(m.regions.unlogged_mappings == record::unlogged_mappings() + 3);
  CHECK(m.at(kOwn).owner == Owner::kFile);  // code is a file's
  CHECK(m.at(kOwn + kPage).owner == Owner::kOwn);
  CHECK(m.at(kOwn + 2 * kPage).owner == Owner::kOwn);
  CHECK(m.at(kBackend).owner == Owner::kFile);
  CHECK(m.at(kBackend + kPage).owner == Owner::kHeapMetadata);
  CHECK(m.at(kBackend + 2 * kPage).owner == Owner::kHeapMetadata);
  CHECK(m.at(kOther + kPage).owner == Owner::kFile);
  for (const auto& [page, end, owner, name, mapper] :
       {std::tuple(0, 4, Owner::kHeap, "", std::uintptr_t{0}),
        {4, 8, Owner::kAnonymous, "", 0},
        {8, 12, Owner::kAnonymous, "/lib/libother.so", kOther + 200},
        {12, 16, Owner::kAnonymous, "", 0},
        {16, 20, Owner::kAnonymous, "", 0x1000},
        {20, 24, Owner::kAnonymous, "", 0},
        {24, 26, Owner::kOwn, "", 0},
        {26, 40, Owner::kAnonymous, "", 0}}) {
    CAPTURE(page);
    const Region& r = m.at(kMapped + static_cast<std::uintptr_t>(page) * kPage);
    CHECK(r.end == kMapped + static_cast<std::uintptr_t>(end) * kPage);
    CHECK(r.owner == owner);
    CHECK(r.name == name);
    CHECK(r.mapper == mapper);
  }
  CHECK(m.at(kBreak).is_brk);
  CHECK(m.at(kBreak).owner == Owner::kAnonymous);
  CHECK(m.at(kBreak).allocator == kGlibcMalloc);
}

TEST_CASE("regions: where glibc serves, what looks like its heaps is the heap, and its data is libc's") {
  Recorded m("libc.so.6", "system");
  constexpr std::uintptr_t kChunk = kMapped + 30 * kPage;
  m.process.map(kChunk, 2 * kPage);
  put_mapped_chunk(m.process, kChunk, 2 * kPage);
  m.read();
  CHECK(m.at(kBreak).owner == Owner::kHeap);
  CHECK(m.at(kChunk).owner == Owner::kHeap);
  CHECK(m.at(kChunk).end == kChunk + 2 * kPage);
  CHECK(m.at(kChunk + 2 * kPage).owner == Owner::kAnonymous);
  CHECK(m.at(kBackend + kPage).owner == Owner::kFile);
  CHECK(m.at(kMapped).owner == Owner::kAnonymous);  // mapped by libc for somebody
  CHECK(m.at(kMapped).name == "/lib/libc.so.6");
}

TEST_CASE("regions: what serves from within mallard has its heap, and nobody where mallard stepped aside") {
  Recorded m("libtcmalloc.so.4", "jemalloc");
  m.served.backend_at = 0;
  record::on_map(kMapped, 4 * kPage, kOwn + 300);
  m.read();
  CHECK(m.at(kMapped).owner == Owner::kHeap);
  CHECK(m.at(kBackend + kPage).owner == Owner::kFile);
  for (bool Served::* aside : {&Served::bypassed, &Served::stepped_aside}) {
    m.served.*aside = true;
    m.read();
    CHECK(m.at(kMapped).owner == Owner::kAnonymous);
    CHECK(m.at(kMapped).name == "/lib/libmallard.so.0");
    CHECK(m.at(kOwn + kPage).owner == Owner::kOwn);
    m.served.*aside = false;
  }
}

TEST_CASE("regions: of this process, threads' stacks, glibc's heaps, and what mallard has for itself") {
  static int in_data = 7;
  std::uintptr_t in_stack = 0, in_arena = 0;
  sem_t ready, done;
  sem_init(&ready, 0, 0);
  sem_init(&done, 0, 0);
  std::thread thread([&] {
    int local = 0;
    void* block = malloc(1000);
    in_stack = address_of(&local);
    in_arena = address_of(block);
    sem_post(&ready);
    sem_wait(&done);
    free(block);
  });
  sem_wait(&ready);
  void* const large = malloc(40 << 20);
  static_cast<volatile char*>(large)[0] = 1;
  Arena arena, kept;
  backends::Backend backend;
  backend.object = elf::libc_object();
  backends::set_text(backend.name, sizeof backend.name, "system");
  Served served{};
  served.backend = &backend;
  const std::uintptr_t in_own = address_of(kept.array<char>(100'000));
  const auto read = [&] {
    Regions regions{};
    REQUIRE(read_regions(arena, own_process(), served, &regions));
    for (std::size_t i = 1; i < regions.all.size(); ++i)
      CHECK(regions.all[i - 1].end <= regions.all[i].begin);
    return regions;
  };
  const auto find = [](const Regions& regions, std::uintptr_t address) {
    for (const Region& r : regions.all)
      if (r.begin <= address && address < r.end) return r;
    FAIL("no region has it");
    return Region{};
  };
  Regions regions = read();
  CHECK(find(regions, in_stack).owner == Owner::kStack);
  // Its guard: a mapping of its own, or, since glibc 2.42, pages of the same one that nobody can read.
  const std::uintptr_t lowest = find(regions, in_stack).begin;
  if (char byte; own_process().get(lowest, &byte)) CHECK(find(regions, lowest - 1).owner == Owner::kStack);
  CHECK(find(regions, in_arena).owner == Owner::kHeap);
  CHECK(find(regions, address_of(large)).owner == Owner::kHeap);
  CHECK(find(regions, in_own).owner == Owner::kOwn);
  CHECK(find(regions, address_of(&in_data)).owner == Owner::kOwn);
  CHECK(find(regions, address_of(arena.array<char>(10))).owner == Owner::kOwn);
  std::size_t heaps_at_the_break = 0;
  for (const Region& r : regions.all) heaps_at_the_break += r.is_brk && r.owner == Owner::kHeap;
  CHECK(heaps_at_the_break == 1);

  served.reporter_stack = in_stack;
  CHECK(find(read(), in_stack).owner == Owner::kOwn);
  served.reporter_stack = 0;
  served.bypassed = true;
  regions = read();
  CHECK(find(regions, in_stack).owner == Owner::kStack);
  for (std::uintptr_t address : {in_arena, address_of(large)}) {
    CHECK(find(regions, address).owner == Owner::kAnonymous);
    CHECK(find(regions, address).allocator == kGlibcMalloc);
  }
  free(large);
  sem_post(&done);
  thread.join();
}

TEST_CASE("regions: memory that a report took since the mappings were listed is mallard's, in its place") {
  Arena arena;
  backends::Backend backend;
  Served served{};
  served.backend = &backend;
  Regions regions{};
  REQUIRE(read_regions(arena, own_process(), served, &regions));
  os::OwnRange own[os::kMaxOwnRanges];
  const std::uint32_t n = os::own_ranges(own, os::kMaxOwnRanges);
  REQUIRE(n > 0);
  for (std::uint32_t i = 0; i < n; ++i) {
    bool found = false;
    for (const Region& r : regions.all)
      found = found || (r.owner == Owner::kOwn && r.begin <= own[i].begin && own[i].begin < r.end);
    CHECK(found);
  }
}

namespace {

constexpr std::uint32_t kThreadBytes = 2304;

/// The descriptor of a thread whose block ends at `end`. \return where it lies
std::uintptr_t put_thread(MadeUpProcess& process, std::uintptr_t begin, std::uintptr_t end,
                          std::uintptr_t alignment = 64) {
  const std::uintptr_t thread = (end - kThreadBytes) & ~(alignment - 1);
  process.map_where_missing(thread);
  process.map_where_missing(end - 1);
  process.put(thread, thread);
  process.put(thread + 16, thread);
  process.put(thread + 1680, begin);
  process.put(thread + 1688, end - begin);
  return thread;
}

}  // namespace

TEST_CASE("glibc memory: a stack is known by the descriptor at its end, however it is aligned") {
  constexpr std::uintptr_t kAt = 0x10'0000'0000, kEnd = kAt + 16 * kPage;
  for (const std::uintptr_t alignment : {64, 128, 1024, 4096}) {
    CAPTURE(alignment);
    MadeUpProcess process;
    process.map(kAt + 12 * kPage, 4 * kPage);  // what the thread has not used is not there
    for (std::uintptr_t page = kAt; page < kAt + 12 * kPage; page += kPage) {
      process.map(page, kPage);
      process.swap_out(page);
    }
    put_thread(process, kAt + 4 * kPage, kEnd, alignment);
    GlibcMemory memory(process);
    memory.set_thread_bytes(kThreadBytes);
    const GlibcPiece before = memory.next(kAt, kEnd, kEnd);
    CHECK(before.kind == GlibcKind::kUnknown);
    CHECK(before.end == kAt + 4 * kPage);
    const GlibcPiece stack = memory.next(before.end, kEnd, kEnd);
    CHECK(stack.kind == GlibcKind::kStack);
    CHECK(stack.begin == kAt + 4 * kPage);
    CHECK(stack.end == kEnd);
    // Of a block that begins below, guard and all, the stack is what was asked for.
    CHECK(memory.next(kAt + 6 * kPage, kEnd, kEnd).begin == kAt + 6 * kPage);
    CHECK(memory.next(kAt + 6 * kPage, kEnd, kEnd).kind == GlibcKind::kStack);
    CHECK(process.reads_of_swapped_out == 0);
  }
}

TEST_CASE("glibc memory: what only resembles a thread's descriptor is no stack") {
  constexpr std::uintptr_t kAt = 0x10'0000'0000, kEnd = kAt + 4 * kPage;
  const auto kind_of = [&](auto damage, std::uint32_t bytes = kThreadBytes) {
    MadeUpProcess process;
    process.map(kAt, 4 * kPage);
    const std::uintptr_t thread = put_thread(process, kAt, kEnd);
    damage(process, thread);
    GlibcMemory memory(process);
    memory.set_thread_bytes(bytes);
    return memory.next(kAt, kEnd, kEnd).kind;
  };
  const auto put = [](std::uintptr_t offset, std::uintptr_t value) {
    return [=](MadeUpProcess& process, std::uintptr_t thread) { process.put(thread + offset, value); };
  };
  const auto nothing = [](MadeUpProcess&, std::uintptr_t) {};
  CHECK(kind_of(nothing) == GlibcKind::kStack);
  CHECK(kind_of(nothing, 0) == GlibcKind::kUnknown);
  CHECK(kind_of(nothing, 8193) == GlibcKind::kUnknown);  // it is not to be believed
  CHECK(kind_of(put(0, kAt)) == GlibcKind::kUnknown);
  CHECK(kind_of(put(16, kAt)) == GlibcKind::kUnknown);
  CHECK(kind_of(put(1680, kAt + 8)) == GlibcKind::kUnknown);
  CHECK(kind_of(put(1680, 0)) == GlibcKind::kUnknown);
  CHECK(kind_of(put(1688, 5 * kPage)) == GlibcKind::kUnknown);
  CHECK(kind_of(put(1688, 3 * kPage)) == GlibcKind::kUnknown);
}

TEST_CASE("glibc memory: four chunks in a row make a main heap, and three do not") {
  constexpr std::uintptr_t kAt = 0x10'0000'0000;
  for (const int chunks : {3, 4}) {
    MadeUpProcess process;
    process.map(kAt, 2 * kPage);
    for (int i = 0; i < 6; ++i) process.put(kAt + static_cast<std::uintptr_t>(i) * 64 + 8, std::uint64_t{i < chunks ? 65u : 7u});
    CHECK(GlibcMemory(process).is_main_heap(kAt, kAt + 2 * kPage) == (chunks == 4));
  }
}
