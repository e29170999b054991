// SPDX-License-Identifier: Apache-2.0
// Each census, and what the kernel tells, on a process that is made up: nothing is read but through the seam
// of base/process_memory.hpp, which another process or a core file can stand behind.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <initializer_list>
#include <vector>

#include "heaps/glibc.hpp"
#include "heaps/pages_in_memory.hpp"
#include "report/facts/glibc_memory.hpp"
#include "report/facts/regions.hpp"
#include "report/facts/residency.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace mallard::heaps {

static bool operator==(const Unit& a, const Unit& b) {
  return a.begin == b.begin && a.end == b.end && a.kind == b.kind && a.block_bytes == b.block_bytes &&
         a.live_bytes == b.live_bytes && a.overhead_bytes == b.overhead_bytes;
}

}  // namespace mallard::heaps

namespace {

constexpr std::uintptr_t kHeap = 0x1234'0000'0000;  // nothing of this process lies there
constexpr std::uint64_t kPage = kPageBytes;

/// What a census reports.
struct Found {
  std::vector<Unit> units;
  std::vector<std::pair<std::uintptr_t, std::uint64_t>> blocks;
  std::vector<std::uintptr_t> freed;  ///< what exact books would call free
  std::uint64_t disputed = 0;         ///< usable bytes of those that glibc's marks call live
  CensusResult result{};
};

/// Asks glibc's census. \param books  also block by block
Found ask_glibc(const MadeUpProcess& process, std::span<const AddressRange> heap, bool books = false,
                std::vector<std::uintptr_t> freed = {}, std::vector<std::uintptr_t> sampled = {}) {
  Found found;
  found.freed = std::move(freed);
  const std::vector<AddressRange> resident = process.resident();
  ExactBlocks asked{[](std::uintptr_t block, void* to) {
                      for (std::uintptr_t f : static_cast<Found*>(to)->freed)
                        if (f == block) return Booked::kFree;
                      return Booked::kUnknown;
                    },
                    [](std::uintptr_t block, std::uint64_t usable, void* to) {
                      static_cast<Found*>(to)->blocks.emplace_back(block, usable);
                    },
                    [](std::uint64_t usable, void* to) { static_cast<Found*>(to)->disputed += usable; }};
  set_glibc_version("2.36");
  found.result =
      census_glibc({.process = process,
                    .heap = heap,
                    .resident = resident,
                    .sampled_blocks = sampled,
                    .budget_bytes = ~std::uint64_t{0},
                    .on_unit = [](const Unit& u, void* to) { static_cast<Found*>(to)->units.push_back(u); },
                    .opaque = &found,
                    .exact = books ? &asked : nullptr});
  return found;
}

/// Writes the header of a chunk. \param before  size of the previous chunk, if that is free; else 0
void put_chunk(MadeUpProcess& process, std::uintptr_t at, std::uint64_t size, std::uint64_t flags = 1,
               std::uint64_t before = 0) {
  process.put(at, before);
  process.put(at + 8, size | flags);
  for (std::uintptr_t word = at + 16; word < at + 32; word += 8)  // what the program wrote: no link, no key
    process.put(word, std::uint64_t{0x2121'2121'2121'2121});
}

/// Two small blocks with a free chunk between them, one of two pages, the top.
MadeUpProcess& main_heap(MadeUpProcess& process) {
  process.map(kHeap, 8 * kPage);
  put_chunk(process, kHeap, 0x40);
  put_chunk(process, kHeap + 0x40, 0x80);
  put_chunk(process, kHeap + 0xc0, 0x20, 0, 0x80);
  put_chunk(process, kHeap + 0xe0, 0x2000);
  put_chunk(process, kHeap + 0x20e0, 8 * kPage - 0x20e0);
  return process;
}
constexpr AddressRange kMainHeap[] = {{kHeap, kHeap + 8 * kPage}};

}  // namespace

TEST_CASE("census: glibc's main heap in memory of another process") {
  MadeUpProcess process;
  const Found found = ask_glibc(main_heap(process), kMainHeap);
  REQUIRE(found.result.done);
  CHECK(found.result.raced == 0);
  REQUIRE(found.units.size() == 3);
  // 0x38 and 0x18 bytes can be used of the small blocks, and the large one begins at 0xf0.
  CHECK(found.units[0] == Unit{kHeap + 8, kHeap + kPage, UnitKind::kBlocks, 0, 0x38 + 0x18 + 0xf10, 24});
  CHECK(found.units[1] == Unit{kHeap + kPage, kHeap + 2 * kPage, UnitKind::kBlocks, 0, kPage, 0});
  CHECK(found.units[2] == Unit{kHeap + 2 * kPage, kHeap + 3 * kPage, UnitKind::kBlocks, 0, 0xe8, 0});
}

TEST_CASE("census: blocks that exact books call free are left out of glibc's heap") {
  MadeUpProcess process;
  main_heap(process);
  const Found all = ask_glibc(process, kMainHeap, true);
  REQUIRE(all.blocks.size() == 3);
  CHECK(all.blocks[0] == std::pair{kHeap + 0x10, std::uint64_t{0x38}});
  CHECK(all.blocks[1] == std::pair{kHeap + 0xd0, std::uint64_t{0x18}});
  CHECK(all.blocks[2] == std::pair{kHeap + 0xf0, std::uint64_t{0x1ff8}});
  const Found fewer = ask_glibc(process, kMainHeap, true, {kHeap + 0xf0});
  CHECK(fewer.blocks.size() == 2);
  CHECK(all.disputed == 0);
  CHECK(fewer.disputed == 0x1ff8);
  REQUIRE(fewer.units.size() == 1);
  CHECK(fewer.units[0] == Unit{kHeap + 8, kHeap + kPage, UnitKind::kBlocks, 0, 0x38 + 0x18, 16});
}

TEST_CASE("census: samples that were freed meanwhile are no reason to doubt where chunks lie") {
  MadeUpProcess process;
  constexpr std::size_t kChunks = 200;
  process.map(kHeap, 16 * kPage);
  std::uintptr_t at = kHeap;
  for (std::size_t i = 0; i < kChunks; ++i, at += 0x40) put_chunk(process, at, 0x40);
  put_chunk(process, at, kHeap + 16 * kPage - at);
  std::vector<std::uintptr_t> gone;  // where no chunk begins any more
  for (std::uintptr_t block = kHeap + 0x20; gone.size() < kChunks - 10; block += 0x40) gone.push_back(block);
  const AddressRange heap[] = {{kHeap, kHeap + 16 * kPage}};
  CHECK(ask_glibc(process, heap, false, {}, gone).result.done);
  // Where chunks do not follow one another either, their layout is another one.
  for (std::uintptr_t chunk = kHeap + 4 * 0x40; chunk < at; chunk += 12 * 0x40) process.put(chunk + 8, std::uint64_t{0x7});
  CHECK_FALSE(ask_glibc(process, heap, false, {}, gone).result.done);
}

TEST_CASE("census: pages that are swapped out are not read") {
  MadeUpProcess process;
  main_heap(process);
  process.swap_out(kHeap + kPage);  // inside the large block
  for (int page = 3; page < 8; ++page) process.swap_out(kHeap + page * kPage);
  const Found found = ask_glibc(process, kMainHeap);
  CHECK(found.result.done);
  CHECK(process.reads_of_swapped_out == 0);
  REQUIRE(found.units.size() == 3);
  CHECK(found.units[2] == Unit{kHeap + 2 * kPage, kHeap + 3 * kPage, UnitKind::kBlocks, 0, 0xe8, 0});
}

TEST_CASE("census: a block with a mapping of its own, and a heap of another arena") {
  constexpr std::uintptr_t kMapped = kHeap + (64 << 20), kArena = kHeap + (128 << 20);
  MadeUpProcess process;
  process.map(kMapped, 3 * kPage);
  process.put(kMapped + 8, std::uint64_t{3 * kPage | 2});
  process.map(kArena, 4 * kPage);
  const std::uint64_t info[] = {kArena + 48, 0, 4 * kPage, 4 * kPage};
  process.put(kArena, info);
  const std::uintptr_t first = kArena + align_up(48 + 2200, 16);
  put_chunk(process, first, 0x100, 5);
  put_chunk(process, first + 0x100, kArena + 4 * kPage - first - 0x100, 5);
  process.put(kArena + 48 + 96, std::uint64_t{first + 0x100});  // the top
  const AddressRange heap[] = {{kMapped, kMapped + 3 * kPage}, {kArena, kArena + 4 * kPage}};
  const Found found = ask_glibc(process, heap);
  REQUIRE(found.result.done);
  CHECK((found.result.arenas == 1 && found.result.threadless_arenas == 1));
  CHECK(found.result.arena_top_bytes == 3 * kPage);
  REQUIRE(found.units.size() == 3);
  CHECK(found.units[0] ==
        Unit{kMapped, kMapped + 3 * kPage, UnitKind::kBlocks, 3 * kPage - 16, 3 * kPage - 16, 16});
  CHECK(found.units[1] == Unit{kArena, first + 8, UnitKind::kMetadata, 0, 0, 0});
  CHECK(found.units[2] == Unit{first + 8, kArena + kPage, UnitKind::kBlocks, 0, 0xf8, 8});

  report::GlibcMemory memory(process);
  report::GlibcPiece piece = memory.next(kMapped, kMapped + 3 * kPage, kMapped + 3 * kPage);
  CHECK((piece.kind == report::GlibcKind::kChunk && piece.end == kMapped + 3 * kPage));
  piece = memory.next(kArena, kArena + 4 * kPage, kArena + 4 * kPage);
  CHECK((piece.kind == report::GlibcKind::kArena && piece.end == kArena + 4 * kPage));
  CHECK_FALSE(memory.is_main_heap(kMapped, kMapped + 3 * kPage));
}

TEST_CASE("census: glibc's main heap is told from other memory at the break") {
  MadeUpProcess process;
  report::GlibcMemory memory(main_heap(process));
  CHECK(memory.is_main_heap(kHeap, kHeap + 8 * kPage));
  // In a program that is linked statically TLS comes first.
  constexpr std::uintptr_t kTls = kHeap - 3 * kPage;
  process.map(kTls, 3 * kPage);
  for (std::uintptr_t at = kTls; at < kHeap; at += 8) process.put(at, std::uint64_t{at | 5});
  CHECK(memory.is_main_heap(kTls, kHeap + 8 * kPage));
  CHECK_FALSE(memory.is_main_heap(kTls, kHeap));
  constexpr std::uintptr_t kOther = kHeap + (64 << 20);
  process.map(kOther, 8 * kPage);
  CHECK_FALSE(memory.is_main_heap(kOther, kOther + 8 * kPage));
  for (std::uintptr_t at = kOther; at < kOther + 8 * kPage; at += 8) process.put(at, std::uint64_t{0x40});
  CHECK_FALSE(memory.is_main_heap(kOther, kOther + 8 * kPage));
}

TEST_CASE("residency: a process whose page tables cannot be read is asked page by page") {
  MadeUpProcess process;
  process.map(kHeap, 16 * kPage);
  process.map(kHeap + 20 * kPage, 2 * kPage);
  process.swap_out(kHeap + 3 * kPage);
  const report::ScanRange ranges[] = {{kHeap, kHeap + 22 * kPage}};
  Arena arena;
  report::Residency residency;
  REQUIRE(residency.scan(arena, process, ranges));
  CHECK(residency.method() == report::ResidencyMethod::kMincore);
  REQUIRE(residency.runs().size() == 3);
  CHECK(residency.runs()[0].end == kHeap + 3 * kPage);
  CHECK(residency.runs()[1].begin == kHeap + 4 * kPage);
  CHECK(residency.runs()[1].end == kHeap + 16 * kPage);
  CHECK(residency.runs()[2].before == 15 * kPage);
  CHECK(residency.vanished_bytes() == 4 * kPage);
}

TEST_CASE(
    "lazily freed: the kernel tells it by mapping; several owners of one divide it by what is in memory") {
  char folder[] = "/tmp/mallard-made-up-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string smaps = std::string(folder) + "/smaps";
  std::ofstream(smaps) << std::hex << kHeap << "-" << kHeap + 16 * kPage << std::dec
                       << " rw-p 00000000 00:00 0 \nRss: 48 kB\nLazyFree:              32 kB\n"
                       << std::hex << kHeap + 32 * kPage << "-" << kHeap + 48 * kPage << std::dec
                       << " rw-p 00000000 00:00 0 \nLazyFree: 4 kB\nVmFlags: rd\n";
  MadeUpProcess process(folder);
  process.map(kHeap, 8 * kPage);
  process.map(kHeap + 12 * kPage, 4 * kPage);
  process.map(kHeap + 32 * kPage, kPage);
  report::Region regions[4] = {};
  const std::uint64_t pages[][2] = {{0, 8}, {8, 16}, {16, 32}, {32, 48}};
  for (int i = 0; i < 4; ++i)
    regions[i].begin = kHeap + pages[i][0] * kPage, regions[i].end = kHeap + pages[i][1] * kPage;
  Arena arena;
  report::Residency residency;
  const report::ScanRange ranges[] = {{kHeap, kHeap + 48 * kPage}};
  REQUIRE(residency.scan(arena, process, ranges, 0, report::ResidencyMethod::kMincore));
  report::Regions all{regions, {}, 0};
  std::span<const report::SmapsEntry> read;
  REQUIRE(report::read_smaps(arena, process, &read));
  report::find_lazily_freed(read, residency, &all);
  CHECK(regions[0].lazily_freed_bytes == 32 * 1024 * 8 / 12);
  CHECK(regions[1].lazily_freed_bytes == 32 * 1024 * 4 / 12);
  CHECK(regions[2].lazily_freed_bytes == 0);
  CHECK(regions[3].lazily_freed_bytes == 4096);
  remove(smaps.c_str());
  CHECK_FALSE(report::read_smaps(arena, process, &read));
  rmdir(folder);
}

TEST_CASE("census: pages that may tell an allocator's form lie in memory, in the fullest ranges, and spread over each") {
  static heaps::PagesInMemory found;
  MadeUpProcess process;
  std::vector<AddressRange> heap, resident;
  // Ten mappings: the i-th has 64 i pages in memory, every second one from its fourth page on.
  const auto page_of = [](std::uintptr_t i, std::uintptr_t n) { return kHeap + i * 0x100'0000 + (4 + 2 * n) * kPage; };
  for (std::uintptr_t i = 0; i < 10; ++i) {
    heap.push_back({kHeap + i * 0x100'0000, kHeap + i * 0x100'0000 + 2048 * kPage});
    for (std::uintptr_t n = 0; n < 64 * i; ++n) resident.push_back({page_of(i, n), page_of(i, n) + kPage});
  }
  const auto pages = found.find({process, heap, resident, {}, 0, nullptr, nullptr});
  std::vector<std::uintptr_t> expected;
  for (std::uintptr_t i = 2; i < 10; ++i)
    for (std::uintptr_t n = 0; n < 64; ++n) expected.push_back(page_of(i, n * i));
  std::vector<std::uintptr_t> sorted(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == expected);
  // Of one range alone there may be more.
  CHECK(found.find({process, {heap.data() + 5, 1}, resident, {}, 0, nullptr, nullptr}).size() == 5 * 64);
  CHECK(found.find({process, {heap.data() + 9, 1}, resident, {}, 0, nullptr, nullptr}).size() == 9 * 64 / 2);
  CHECK(found.find({process, heap, {}, {}, 0, nullptr, nullptr}).empty());
}
