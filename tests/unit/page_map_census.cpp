// SPDX-License-Identifier: Apache-2.0
// The censuses that go by a page map, jemalloc's and tcmalloc's, on a process that is made up: each layout is
// told from the others by blocks that are known.
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/attributes.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/jemalloc_layout.hpp"
#include "heaps/jemalloc_page_map.hpp"
#include "heaps/tcmalloc.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kHeap = 0x1234'4000'0000;  // nothing of this process lies there
constexpr std::uintptr_t kData = 0x1235'0000'0000, kTables = 0x1236'0000'0000, kBooks = 0x1237'0000'0000;
constexpr std::uint64_t kPage = kPageBytes;

struct Found {
  std::vector<Unit> units;
  CensusResult result{};
};

/// What the allocator's functions answer. They cannot have a state of their own.
std::vector<std::uintptr_t> g_probes;
std::size_t g_next_probe;
std::map<std::uintptr_t, std::size_t> g_usable;
std::map<std::string, std::uint64_t> g_controls;
std::size_t g_freed;

void* made_up_malloc(std::size_t) { return reinterpret_cast<void*>(g_probes.at(g_next_probe++)); }
void made_up_free(void*) { ++g_freed; }
std::size_t made_up_usable_size(void* block) { return g_usable.at(address_of(block)); }

template <class Census>
Found ask(const MadeUpProcess& process, std::vector<AddressRange> heap, Census census) {
  Found found;
  const std::vector<AddressRange> resident = process.resident();
  g_next_probe = g_freed = 0;
  found.result =
      census({.process = process,
              .heap = heap,
              .resident = resident,
              .sampled_blocks = {},
              .budget_bytes = ~std::uint64_t{0},
              .on_unit = [](const Unit& u, void* to) { static_cast<Found*>(to)->units.push_back(u); },
              .opaque = &found});
  return found;
}

void check_unit(const Found& found, std::size_t i, std::uintptr_t begin, std::uintptr_t end, UnitKind kind,
                std::uint64_t block_bytes, std::uint64_t live_bytes) {
  INFO("unit " << i);
  REQUIRE(i < found.units.size());
  CHECK(found.units[i].begin == begin);
  CHECK(found.units[i].end == end);
  CHECK(found.units[i].kind == kind);
  CHECK(found.units[i].block_bytes == block_bytes);
  CHECK(found.units[i].live_bytes == live_bytes);
}

std::uint64_t in_field(BitField field, std::uint64_t value) { return value << field.shift; }

/// Tables of words, made as they are needed.
class Tables {
 public:
  explicit Tables(MadeUpProcess& process) : process_(process) {}
  std::uintptr_t below(std::uintptr_t table, std::uint64_t index, std::size_t bytes) {
    std::uint64_t next = 0;
    const std::uintptr_t at = table + index * 8;
    process_.map_where_missing(at);
    REQUIRE(process_.get(at, &next));
    if (next != 0) return next;
    next = next_;
    next_ += align_up(bytes, kPage);
    process_.put(at, next);
    return next;
  }

 private:
  MadeUpProcess& process_;
  std::uintptr_t next_ = kTables;
};

/// A jemalloc with two small classes, 112 and 3072 bytes, and two large ones.
class MadeUpJemalloc {
 public:
  enum State : std::uint64_t { kActive = 0, kDirty = 1 };
  static constexpr std::uint64_t kSizes[] = {112, 3072, 20480, 327680};
  static constexpr std::uint64_t kFree = 4;  ///< class of an extent that is not in use

  explicit MadeUpJemalloc(const JemallocLayout& layout) : layout_(layout), tables_(process) {
    process.map(kBooks, 4 * kPage);
    g_controls = {{"arenas.page", kPage},
                  {"arenas.nbins", 2},
                  {"arenas.nlextents", 2},
                  {"arenas.bin.0.size", kSizes[0]},
                  {"arenas.bin.1.size", kSizes[1]},
                  {"arenas.lextent.0.size", kSizes[2]},
                  {"arenas.lextent.1.size", kSizes[3]},
                  {"stats.arenas.4096.tcache_bytes", 777}};
  }

  void put_extent(std::uintptr_t address, std::uint64_t bytes, std::uint64_t size_class, bool slab,
                  State state, std::uint64_t free = 0) {
    const JemallocExtentFields& fields = layout_.extent;
    const std::uintptr_t at = kBooks + 128 * extents_++, begin = address & ~(kPage - 1);
    // Bits of other fields are set as well: an arena's number, "committed", the index of a bin's shard.
    const std::uint64_t others = 0x2007 | std::uint64_t{5} << (fields.free_regions.shift + 10);
    process.put(
        at, JemallocExtent{others | in_field(fields.slab, slab) | in_field(fields.state, state) |
                               in_field(fields.size_class, size_class) | in_field(fields.free_regions, free),
                           address, bytes | 0x123});
    for (std::uintptr_t page = begin; page < begin + bytes; page += kPage)
      if (slab || page == begin || page + kPage == begin + bytes) put_element(page, at, size_class, slab);
  }

  JemallocAccess access() {
    return {.mallctl = control,
            .malloc = made_up_malloc,
            .free = made_up_free,
            .usable_size = made_up_usable_size,
            .data = {kData, kData + 70 * kPage},
            .arenas_can_end = true};
  }

  MadeUpProcess process;

 private:
  static int control(const char* name, void* old, std::size_t* bytes, void*, std::size_t) {
    const auto found = g_controls.find(name);
    if (found == g_controls.end()) return 2;
    memcpy(old, &found->second, *bytes);
    return 0;
  }

  void put_element(std::uintptr_t page, std::uintptr_t extent, std::uint64_t size_class, bool slab) {
    const JemallocTables& tables = layout_.tables;
    std::uintptr_t table = kData + 0x78;  // a lock comes before it
    for (unsigned level = 0; level + 1 < tables.levels; ++level)
      table = tables_.below(table, tables.index[level].of(page), 4 << 20);
    const std::uintptr_t at = table + tables.index[tables.levels - 1].of(page) * tables.element_words * 8;
    const std::uint64_t rest =
        in_field(layout_.element_slab, slab) | in_field(layout_.element_class, size_class);
    process.map_where_missing(at);
    process.put(at, extent | (tables.element_words == 1 ? rest : 0));
    if (tables.element_words == 2) process.put(at + 8, rest);
  }

  const JemallocLayout& layout_;
  Tables tables_;
  std::size_t extents_ = 0;
};

/// Two slabs, two large blocks, free memory and, at both ends, books.
void fill(MadeUpJemalloc& jemalloc) {
  jemalloc.process.map(kHeap, 200 * kPage);
  jemalloc.process.map(kData, 70 * kPage);
  jemalloc.put_extent(kHeap + 2 * kPage, 7 * kPage, 0, true, MadeUpJemalloc::kActive, 200);
  jemalloc.put_extent(kHeap + 9 * kPage, 3 * kPage, 1, true, MadeUpJemalloc::kActive, 3);
  jemalloc.put_extent(kHeap + 12 * kPage, 8 * kPage, MadeUpJemalloc::kFree, false, MadeUpJemalloc::kDirty);
  jemalloc.put_extent(kHeap + 20 * kPage + 64, 6 * kPage, 2, false, MadeUpJemalloc::kActive);
  jemalloc.put_extent(kHeap + 26 * kPage, 81 * kPage, 3, false, MadeUpJemalloc::kActive);
  g_probes = {kHeap + 2 * kPage + 112 * 40, kHeap + 9 * kPage + 3072, kHeap + 20 * kPage + 64,
              kHeap + 26 * kPage};
  g_usable.clear();
  for (std::size_t i = 0; i < 4; ++i) g_usable[g_probes[i]] = MadeUpJemalloc::kSizes[i];
}

const std::vector<AddressRange> kJemallocHeap = {{kHeap, kHeap + 110 * kPage}};

Found ask(const MadeUpJemalloc& jemalloc, JemallocAccess& access) {
  return ask(jemalloc.process, kJemallocHeap,
             [&](const CensusRequest& request) { return jemalloc_census(access, request); });
}

}  // namespace

TEST_CASE("census: each layout of jemalloc's page map") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    INFO(layout.tables.levels << " levels, state at bit " << int{layout.extent.state.shift});
    MadeUpJemalloc jemalloc(layout);
    fill(jemalloc);
    JemallocAccess access = jemalloc.access();
    const Found found = ask(jemalloc, access);
    REQUIRE(found.result.done);
    CHECK(access.map.layout == &layout);
    CHECK(access.map.root == kData + 0x78);
    CHECK(g_freed == 4);
    CHECK(found.result.raced == 0);
    CHECK(found.result.thread_cached_bytes == 777);
    REQUIRE(found.units.size() == 6);
    check_unit(found, 0, kHeap, kHeap + 2 * kPage, UnitKind::kMetadata, 0, 0);
    check_unit(found, 1, kHeap + 2 * kPage, kHeap + 9 * kPage, UnitKind::kBlocks, 112, 56 * 112);
    check_unit(found, 2, kHeap + 9 * kPage, kHeap + 12 * kPage, UnitKind::kBlocks, 3072, 3072);
    check_unit(found, 3, kHeap + 20 * kPage, kHeap + 26 * kPage, UnitKind::kBlocks, 20480, 20480);
    check_unit(found, 4, kHeap + 26 * kPage, kHeap + 107 * kPage, UnitKind::kBlocks, 327680, 327680);
    check_unit(found, 5, kHeap + 107 * kPage, kHeap + 110 * kPage, UnitKind::kMetadata, 0, 0);
    // The second census asks for no blocks.
    CHECK(ask(jemalloc, access).units.size() == 6);
    CHECK(g_next_probe == 0);
  }
}

TEST_CASE("census: jemalloc's size classes are known without asking it") {
  std::uint64_t bytes[kJemallocMostClasses];
  unsigned small = 0;
  const unsigned count = jemalloc_classes(bytes, &small);
  CHECK((small == 36 && bytes[35] == 14336 &&
         bytes[36] == 16384));  // as arenas.nbins and arenas.lextent.0.size
  CHECK((bytes[0] == 8 && bytes[4] == 64 && bytes[8] == 128 && bytes[9] == 160 && bytes[36 + 21] == 655360));
  CHECK(count == 232);
  CHECK(bytes[count - 1] == std::uint64_t{7} << 60);
}

TEST_CASE("census: memory of something else makes no jemalloc") {
  MadeUpProcess process;
  process.map(kData, 4 * kPage);
  process.map(kHeap, 64 * kPage);
  std::vector<std::uintptr_t> pages;
  for (std::uintptr_t at = kHeap; at < kHeap + 64 * kPage; at += kPage) {
    process.put(at, at);
    pages.push_back(at);
  }
  for (std::uintptr_t at = kData; at < kData + 4 * kPage; at += 8)
    process.put(at, kHeap + at % kPage * 64 % (64 * kPage));
  CHECK(find_jemalloc_map(process, {kData, kData + 4 * kPage}, pages).root == 0);
}

TEST_CASE("census: a page map of jemalloc that contradicts one known block is not believed") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    MadeUpJemalloc jemalloc(layout);
    fill(jemalloc);
    g_usable[g_probes[3]] += kPage;
    JemallocAccess access = jemalloc.access();
    const Found found = ask(jemalloc, access);
    CHECK_FALSE(found.result.done);
    CHECK(std::string(found.result.why_not) ==
          "the page map of this jemalloc is laid out as in none of the versions 5.1 to 5.3");
    CHECK(found.units.empty());
    CHECK(g_freed == 4);
  }
}

TEST_CASE("census: large blocks of jemalloc 5.3.1 have the size of their extent") {
  MadeUpJemalloc jemalloc(kJemallocLayouts[0]);
  fill(jemalloc);
  jemalloc.put_extent(kHeap + 26 * kPage, 75 * kPage, 3, false, MadeUpJemalloc::kActive);
  jemalloc.put_extent(kHeap + 101 * kPage, 6 * kPage, MadeUpJemalloc::kFree, false, MadeUpJemalloc::kDirty);
  g_controls["opt.disable_large_size_classes"] = 1;
  g_usable[g_probes[3]] = 74 * kPage;
  JemallocAccess access = jemalloc.access();
  const Found found = ask(jemalloc, access);
  REQUIRE(found.result.done);
  REQUIRE(found.units.size() == 6);
  check_unit(found, 3, kHeap + 20 * kPage, kHeap + 26 * kPage, UnitKind::kBlocks, 20480, 20480);
  check_unit(found, 4, kHeap + 26 * kPage, kHeap + 101 * kPage, UnitKind::kBlocks, 74 * kPage, 74 * kPage);
}

TEST_CASE("census: with huge pages of jemalloc's own, only its blocks of books are metadata") {
  constexpr std::uintptr_t kBlock = kHeap + (2 << 20);
  MadeUpJemalloc jemalloc(kJemallocLayouts[0]);
  fill(jemalloc);
  g_controls["opt.hpa"] = 1;
  jemalloc.process.map(kBlock, 8 * kPage);
  jemalloc.process.put(kBlock, JemallocBaseBlock{4 << 20, 0, {0, kBlock + 5000, (4 << 20) - 5000}});
  JemallocAccess access = jemalloc.access();
  const Found found = ask(jemalloc.process, {{kHeap, kHeap + (16 << 20)}},
                          [&](const CensusRequest& request) { return jemalloc_census(access, request); });
  REQUIRE(found.result.done);
  REQUIRE(found.units.size() == 5);
  check_unit(found, 4, kBlock, kBlock + (4 << 20), UnitKind::kMetadata, 0, 0);
}

namespace {

/// A tcmalloc whose classes are 112, 3072 and 20480 bytes.
class MadeUpTcmalloc {
 public:
  enum Location : std::uint64_t { kInUse = 0, kOnNormalFreeList = 1, kOnReturnedFreeList = 2 };

  MadeUpTcmalloc(unsigned page_shift, unsigned levels)
      : shift_(page_shift), levels_(levels), tables_(process) {
    process.map(kBooks, 4 * kPage);
  }

  void put_span(std::uint64_t first, std::uint64_t pages, std::uint64_t size_class, std::uint64_t handed_out,
                Location location) {
    const std::uintptr_t at = kBooks + 48 * spans_++, begin = kHeap + (first << shift_);
    process.put(at, begin >> shift_);
    process.put(at + 8, pages);
    process.put(at + 40, handed_out | size_class << 16 | location << 24 | std::uint64_t{0xabcd} << 32);
    for (std::uint64_t page = 0; page < pages; ++page)
      if (size_class != 0 || page == 0 || page + 1 == pages) put_page(begin + (page << shift_), at);
  }

  TcmallocAccess access() {
    return {.property = [](const char* name, std::size_t* value) -> int {
              *value = std::string(name) == "tcmalloc.thread_cache_free_bytes" ? 700 : 77;
              return 1;
            },
            .rounded_size = [](std::size_t bytes, int) -> std::size_t {
              for (const std::size_t size : {112, 3072, 20480})
                if (bytes <= size) return size;
              return align_up(bytes, 8192);
            },
            .malloc = made_up_malloc,
            .free = made_up_free,
            .usable_size = made_up_usable_size,
            .data = {kData, kData + 70 * kPage}};
  }

  MadeUpProcess process;

 private:
  void put_page(std::uintptr_t page, std::uintptr_t span) {
    // The bits of a page's number, from the root's table to that of the pages.
    const unsigned bits = 48 - shift_;
    const unsigned upper = levels_ == 2 ? bits - (bits + 1) / 2 : (bits + 2) / 3;
    const unsigned leaf = bits - upper * (levels_ - 1);
    const std::uint64_t number = page >> shift_;
    std::uintptr_t table = tables_.below(kData + 0x100, number >> (bits - upper), 4 << 20);
    if (levels_ == 3)
      table = tables_.below(table, number >> leaf & ((std::uint64_t{1} << upper) - 1), 4 << 20);
    const std::uintptr_t at = table + (number & ((std::uint64_t{1} << leaf) - 1)) * 8;
    process.map_where_missing(at);
    process.put(at, span);
  }

  unsigned shift_, levels_;
  Tables tables_;
  std::size_t spans_ = 0;
};

/// Spans of small blocks, a large block, free memory of both sorts and, at the end, books.
void fill(MadeUpTcmalloc& tcmalloc, unsigned shift) {
  const auto page = [shift](std::uint64_t n) { return kHeap + (n << shift); };
  tcmalloc.process.map(kData, 70 * kPage);
  tcmalloc.put_span(0, 1, 1, 30, MadeUpTcmalloc::kInUse);
  tcmalloc.put_span(1, 3, 2, 2, MadeUpTcmalloc::kInUse);
  tcmalloc.put_span(4, 5, 0, 0, MadeUpTcmalloc::kOnNormalFreeList);
  tcmalloc.put_span(9, 10, 3, 1, MadeUpTcmalloc::kInUse);
  tcmalloc.put_span(19, 2, 0, 0, MadeUpTcmalloc::kOnReturnedFreeList);
  tcmalloc.put_span(21, 40, 0, 1, MadeUpTcmalloc::kInUse);
  tcmalloc.put_span(61, 1, 1, 0, MadeUpTcmalloc::kInUse);
  g_probes = {page(0) + 112 * 7, page(1) + 3072, page(9), page(21)};
  g_usable = {{g_probes[0], 112}, {g_probes[1], 3072}, {g_probes[2], 20480}, {g_probes[3], 40ULL << shift}};
}

Found ask(const MadeUpTcmalloc& tcmalloc, TcmallocAccess& access, unsigned shift) {
  return ask(tcmalloc.process, {{kHeap, kHeap + (64ULL << shift)}, {kTables, kTables + (64 << 20)}},
             [&](const CensusRequest& request) { return tcmalloc_census(access, request); });
}

}  // namespace

TEST_CASE("census: tcmalloc's spans by its page map") {
  struct {
    unsigned shift, levels;
  } const layouts[] = {{13, 2}, {12, 2}, {15, 2}, {16, 2}, {13, 3}};
  for (const auto& [shift, levels] : layouts) {
    INFO("pages of 2^" << shift << ", " << levels << " levels");
    const auto page = [shift = shift](std::uint64_t n) { return kHeap + (n << shift); };
    MadeUpTcmalloc tcmalloc(shift, levels);
    fill(tcmalloc, shift);
    TcmallocAccess access = tcmalloc.access();
    const Found found = ask(tcmalloc, access, shift);
    REQUIRE(found.result.done);
    CHECK(access.map.page_shift == shift);
    CHECK(access.map.levels == levels);
    CHECK(found.result.raced == 0);
    CHECK(found.result.thread_cached_bytes == 777);
    REQUIRE(found.units.size() == 6);
    check_unit(found, 0, page(0), page(1), UnitKind::kBlocks, 112, 30 * 112);
    check_unit(found, 1, page(1), page(4), UnitKind::kBlocks, 3072, 2 * 3072);
    check_unit(found, 2, page(9), page(19), UnitKind::kBlocks, 20480, 20480);
    check_unit(found, 3, page(21), page(61), UnitKind::kBlocks, 40ULL << shift, 40ULL << shift);
    check_unit(found, 4, page(62), page(64), UnitKind::kMetadata, 0, 0);
    check_unit(found, 5, kTables, kTables + (64 << 20), UnitKind::kMetadata, 0, 0);
    CHECK(g_freed == 4);
  }
}

TEST_CASE("census: a page map of tcmalloc that contradicts one known block is not believed") {
  for (int wrong = 0; wrong < 4; ++wrong) {
    MadeUpTcmalloc tcmalloc(13, 2);
    fill(tcmalloc, 13);
    g_usable[g_probes[static_cast<std::size_t>(wrong)]] += 16;
    TcmallocAccess access = tcmalloc.access();
    const Found found = ask(tcmalloc, access, 13);
    CHECK_FALSE(found.result.done);
    CHECK(found.units.empty());
  }
}
