// SPDX-License-Identifier: Apache-2.0
// A jemalloc that cannot be asked is found by its page map, in a process that is made up: it is believed where all
// that it says agrees, and not where one thing does not.
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/attributes.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/jemalloc_layout.hpp"
#include "unit/catch.hpp"
#include "unit/damage.hpp"
#include "unit/golden.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kHeap = 0x1234'4000'0000;  // nothing of this process lies there
constexpr std::uintptr_t kData = 0x1235'0000'0000, kTables = 0x1236'0000'0000, kBooks = 0x1237'0000'0000;
constexpr std::uint64_t kPage = kPageBytes, kDataBytes = 96 * kPage;

std::uint64_t in_field(BitField field, std::uint64_t value) { return value << field.shift; }

/// An extent, and what the page map says of its pages.
struct Extent {
  std::uintptr_t address;
  std::uint64_t bytes, size_class;
  bool slab;
  std::uint64_t state, free;
  std::uint64_t class_in_map;
  bool slab_in_map;
  std::uintptr_t structure;  ///< where it would be; 0: it is made
};

constexpr std::uint64_t kClassOf160 = 9, kLargestSmall = 35, kSmallestLarge = 36, kClasses = 232;

Extent slab_of_160(std::uintptr_t at) {
  return {at, 5 * kPage, kClassOf160, true, kJemallocActive, 7, kClassOf160, true, 0};
}
Extent large(std::uintptr_t at) {
  return {at, 5 * kPage, kSmallestLarge, false, kJemallocActive, 0, kSmallestLarge, false, 0};
}

class MadeUpMap {
 public:
  explicit MadeUpMap(const JemallocLayout& layout, std::uintptr_t root = kData + 0x78) : root_(root), layout_(layout) {
    process.map(kData, kDataBytes);
    process.map(kBooks, 4 * kPage);
  }

  void put(Extent e) {
    const JemallocExtentFields& f = layout_.extent;
    const std::uintptr_t at = e.structure ? e.structure : kBooks + 128 * extents_++;
    if (!e.structure)
      process.put(at, JemallocExtent{in_field(f.slab, e.slab) | in_field(f.state, e.state) |
                                         in_field(f.size_class, e.size_class) | in_field(f.free_regions, e.free),
                                     e.address, e.bytes | 0x123});
    const std::uintptr_t first = e.address & ~(kPage - 1);
    for (std::uintptr_t page = first; page < first + 5 * kPage; page += kPage) describe(page, at, e);
  }

  /// The map says that the page is of the extent whose structure stands at `extent`.
  void describe(std::uintptr_t page, std::uintptr_t extent, const Extent& e) {
    const JemallocTables& t = layout_.tables;
    const std::uintptr_t at = element_of(page);
    const std::uint64_t rest =
        in_field(layout_.element_slab, e.slab_in_map) | in_field(layout_.element_class, e.class_in_map);
    process.put(at, extent | (t.element_words == 1 ? rest : 0));
    if (t.element_words == 2) process.put(at + 8, rest);
  }

  /// Where the map's element for the page stands.
  std::uintptr_t element_of(std::uintptr_t page) {
    const JemallocTables& t = layout_.tables;
    std::uintptr_t table = root_;
    for (unsigned level = 0; level + 1 < t.levels; ++level) table = below(table + t.index[level].of(page) * 8);
    const std::uintptr_t at = table + t.index[t.levels - 1].of(page) * t.element_words * 8;
    process.map_where_missing(at);
    return at;
  }
  /// Where the entry of the root's table stands that leads to the page.
  std::uintptr_t entry_of(std::uintptr_t page) const { return root_ + layout_.tables.index[0].of(page) * 8; }

  JemallocMap find(const std::vector<std::uintptr_t>& pages, AddressRange data = {kData, kData + kDataBytes}) const {
    return find_jemalloc_map(process, data, pages);
  }
  bool is_found(const std::vector<std::uintptr_t>& pages, AddressRange data = {kData, kData + kDataBytes}) const {
    const JemallocMap map = find(pages, data);
    if (map.root == 0) return false;
    CHECK(map.root == root_);
    CHECK(map.layout == &layout_);
    return true;
  }

  MadeUpProcess process;
  std::uintptr_t next_table = kTables;

 private:
  std::uintptr_t below(std::uintptr_t at) {
    std::uint64_t next = 0;
    process.map_where_missing(at);
    REQUIRE(process.get(at, &next));
    if (next != 0) return next;
    process.put(at, next_table);
    next = next_table;
    next_table = kTables + (8 << 20) * ++tables_;
    return next;
  }

  const std::uintptr_t root_;
  const JemallocLayout& layout_;
  std::size_t extents_ = 0, tables_ = 0;
};

constexpr std::uintptr_t kFirst = kHeap, kSecond = kHeap + 8 * kPage, kThird = kHeap + 16 * kPage;

/// Whether three extents are enough, of which the third is as `change` makes it.
bool believes(const JemallocLayout& layout, Extent third, std::uintptr_t page = kThird) {
  MadeUpMap map(layout);
  map.put(slab_of_160(kFirst));
  map.put(large(kSecond));
  map.put(third);
  return map.is_found({kFirst, kSecond, page});
}

template <class Change>
bool believes_slab(const JemallocLayout& layout, Change change) {
  Extent e = slab_of_160(kThird);
  change(e);
  return believes(layout, e);
}
template <class Change>
bool believes_large(const JemallocLayout& layout, Change change) {
  Extent e = large(kThird);
  change(e);
  return believes(layout, e);
}

}  // namespace

TEST_CASE("from outside: jemalloc's map is believed by three extents, not by two") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    MadeUpMap map(layout);
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.put(large(kThird + 64));
    CHECK(map.is_found({kFirst, kSecond, kThird}));
    CHECK(map.is_found({kHeap - kPage, kFirst, kFirst + kPage, kSecond, kHeap + 99 * kPage, kThird}));
    CHECK_FALSE(map.is_found({kFirst, kSecond}));
    CHECK_FALSE(map.is_found({kFirst, kFirst + kPage, kSecond, kSecond + kPage}));
    CHECK_FALSE(map.is_found({}));
  }
}

TEST_CASE("from outside: all pages of a jemalloc that are given are looked at") {
  MadeUpMap map(kJemallocLayouts[0]);
  map.put(slab_of_160(kFirst));
  map.put(large(kSecond));
  map.put(large(kThird));
  std::vector<std::uintptr_t> pages(500, kHeap + 99 * kPage);
  pages.insert(pages.end(), {kFirst, kSecond});
  CHECK_FALSE(map.is_found(pages));
  pages.push_back(kThird);
  CHECK(map.is_found(pages));
}

TEST_CASE("from outside: an extent of jemalloc must say of itself what the map says of it") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    INFO(layout.tables.levels << " levels, state at bit " << int{layout.extent.state.shift});
    CHECK(believes_slab(layout, [](Extent&) {}));
    CHECK(believes_large(layout, [](Extent&) {}));
    for (const std::uint64_t state : {1, 2, 3}) {
      CHECK_FALSE(believes_slab(layout, [=](Extent& e) { e.state = state; }));
      CHECK_FALSE(believes_large(layout, [=](Extent& e) { e.state = state; }));
    }
    CHECK_FALSE(believes_slab(layout, [](Extent& e) { e.slab_in_map = false; }));
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.slab_in_map = true; }));
    CHECK_FALSE(believes_slab(layout, [](Extent& e) { e.class_in_map = kClassOf160 - 1; }));
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.class_in_map = kSmallestLarge + 1; }));
    // A slab is of a small class, of whole regions, of which no more are free than there are, from its beginning.
    CHECK(believes_slab(layout, [](Extent& e) { e.free = 0; }));
    CHECK(believes_slab(layout, [](Extent& e) { e.free = 5 * kPage / 160; }));
    CHECK_FALSE(believes_slab(layout, [](Extent& e) { e.free = 5 * kPage / 160 + 1; }));
    CHECK_FALSE(believes_slab(layout, [](Extent& e) { e.bytes = 4 * kPage; }));
    CHECK_FALSE(believes_slab(layout, [](Extent& e) { e.address += 64; }));
    CHECK(believes_slab(layout, [](Extent& e) {
      e.bytes = 7 * kPage;
      e.free = 1;
      e.size_class = e.class_in_map = kLargestSmall;
    }));
    CHECK_FALSE(believes_slab(layout, [](Extent& e) {
      e.bytes = 4 * kPage;
      e.free = 0;
      e.size_class = e.class_in_map = kSmallestLarge;
    }));
    // What is no slab is of a large class, of those that there are, and may begin off its page.
    CHECK(believes_large(layout, [](Extent& e) { e.address += 128; }));
    CHECK(believes_large(layout, [](Extent& e) { e.size_class = e.class_in_map = kClasses - 1; }));
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.size_class = e.class_in_map = kClasses; }));
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.size_class = e.class_in_map = kLargestSmall; }));
    CHECK(believes_large(layout, [](Extent& e) { e.bytes = (std::uint64_t{1} << 46) - kPage; }));
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.bytes = std::uint64_t{1} << 46; }));
    // Its structure must be there.
    CHECK_FALSE(believes_large(layout, [](Extent& e) { e.structure = kBooks + 4 * kPage; }));
  }
}

TEST_CASE("from outside: an extent of jemalloc must lie where its page is") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    CHECK(believes(layout, large(kThird), kThird + 4 * kPage));
    Extent shorter = large(kThird);
    shorter.bytes = 4 * kPage;
    CHECK(believes(layout, shorter, kThird + 3 * kPage));
    CHECK_FALSE(believes(layout, shorter, kThird + 4 * kPage));
    // The map leads from a page before the extent to it.
    MadeUpMap map(layout);
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.describe(kThird - kPage, kBooks + 1024, large(kThird));
    map.process.put(kBooks + 1024, JemallocExtent{in_field(layout.extent.size_class, kSmallestLarge), kThird, 5 * kPage});
    CHECK_FALSE(map.is_found({kFirst, kSecond, kThird - kPage}));
    map.describe(kThird, kBooks + 1024, large(kThird));
    CHECK(map.is_found({kFirst, kSecond, kThird}));
  }
}

TEST_CASE("from outside: where in the data a jemalloc's root is") {
  for (const JemallocLayout& layout : kJemallocLayouts) {
    // The entry is read with the first words, or much later.
    for (const std::uint64_t off : {0x0, 0x8, 0xfff8, 0x10000, 0x10008, 0x20000}) {
      INFO(off);
      MadeUpMap map(layout, kData + off);
      map.put(slab_of_160(kFirst));
      map.put(large(kSecond));
      map.put(large(kThird));
      const std::uintptr_t entry = map.entry_of(kFirst);
      REQUIRE(entry + 8 <= kData + kDataBytes);
      CHECK(map.is_found({kFirst, kSecond, kThird}));
      CHECK(map.is_found({kFirst, kSecond, kThird}, {kData, entry + 8}));
      CHECK_FALSE(map.is_found({kFirst, kSecond, kThird}, {kData, entry + 7}));
      CHECK_FALSE(map.is_found({kFirst, kSecond, kThird}, {kData, entry}));
      // A root before the data is none of the object's.
      CHECK_FALSE(map.is_found({kFirst, kSecond, kThird}, {kData + off + 8, kData + kDataBytes}));
    }
  }
}

TEST_CASE("from outside: words that lead to no map of jemalloc's are soon let go, and it is found behind them") {
  constexpr std::size_t kWords = 4096, kOthers = 509;
  constexpr std::uintptr_t kElsewhere = 0x1238'0000'0000, kEmpty = 0x1239'0000'0000;
  for (const bool leads_to_zeros : {false, true}) {
    MadeUpMap map(kJemallocLayouts[0], kData + kWords * 8 + 0x78);
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.put(large(kThird));
    std::vector<std::uintptr_t> pages;  // of others, whose entries the map does not have
    for (std::size_t i = 0; i < kOthers; ++i) pages.push_back(kHeap + (64 + i) * kPage);
    for (const std::uintptr_t page : {kFirst, kSecond, kThird}) pages.push_back(page);
    const std::uint64_t elements = kJemallocLayouts[0].tables.index[1].of(kHeap) * 8;
    for (const std::uintptr_t table : {kTables, kEmpty}) map.process.map_whole(table + elements, 4 * kPage);
    for (std::size_t i = 0; i < kWords; ++i)
      map.process.put(map.entry_of(kFirst) - (i + 1) * 8, leads_to_zeros ? kEmpty : kElsewhere + i * 64);
    map.process.copies = 0;
    CHECK(map.is_found(pages));
    CHECK(map.process.copies < 20 * kWords);
  }
}

TEST_CASE("from outside: a table of jemalloc's is aligned to cache lines, and lies where programs have memory") {
  for (const std::uintptr_t table : {kTables + 32, kTables + 8, std::uintptr_t{1} << 47}) {
    MadeUpMap map(kJemallocLayouts[0]);
    map.next_table = table;
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.put(large(kThird));
    CHECK_FALSE(map.is_found({kFirst, kSecond, kThird}));
  }
  for (const std::uintptr_t table : {kTables + 64, std::uintptr_t{kPageBytes}, (std::uintptr_t{1} << 47) - (4 << 20)}) {
    MadeUpMap map(kJemallocLayouts[0]);
    map.next_table = table;
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.put(large(kThird));
    CHECK(map.is_found({kFirst, kSecond, kThird}));
  }
}

TEST_CASE("from outside: what is jemalloc's is in its map, or begins a block of its own memory") {
  MadeUpMap map(kJemallocLayouts[0]);
  map.put(slab_of_160(kFirst));
  const JemallocMap found{kData + 0x78, &kJemallocLayouts[0]};
  CHECK(is_jemallocs(map.process, found, kFirst));
  CHECK(is_jemallocs(map.process, found, kFirst + 4 * kPage));
  CHECK_FALSE(is_jemallocs(map.process, found, kFirst + 5 * kPage));
  constexpr std::uintptr_t kBlock = kHeap + (4 << 20);
  map.process.map(kBlock, 4 * kPage);
  CHECK_FALSE(is_jemallocs(map.process, found, kBlock));
  const JemallocBaseBlock block{2 << 20, 0, {0, kBlock + 5000, (2 << 20) - 5000}};
  map.process.put(kBlock, block);
  map.process.put(kBlock + kPage, JemallocBaseBlock{2 << 20, 0, {0, kBlock + kPage + 5000, (2 << 20) - 5000}});
  CHECK(is_jemallocs(map.process, found, kBlock));
  CHECK_FALSE(is_jemallocs(map.process, found, kBlock + kPage));  // not aligned to 2 MiB
  map.process.put(kBlock, JemallocBaseBlock{2 << 20, 0, {0, kBlock + 5000, (2 << 20) - 4999}});
  CHECK_FALSE(is_jemallocs(map.process, found, kBlock));
}

namespace {

std::string look_at(const MadeUpMap& made, const std::vector<std::uintptr_t>& pages, const JemallocMap& known) {
  const JemallocMap found = made.find(pages);
  std::string to = "not found; ";
  if (found.root) to = "found at +" + std::to_string(found.root - kData) + ", layout " + std::to_string(found.layout - kJemallocLayouts) + "; ";
  std::size_t its = 0;
  for (std::uintptr_t page = kHeap; page < kHeap + 24 * kPage; page += kPage) its += is_jemallocs(made.process, known, page);
  to += std::to_string(its) + " pages are its; ";
  const std::vector<AddressRange> resident = made.process.resident();
  const AddressRange heap[] = {{kHeap, kHeap + 24 * kPage}, {kHeap + (4 << 20), kHeap + (8 << 20)}};
  for (const bool one_by_one : {false, true}) {
    CensusSums sums;
    CensusRequest request = sums.request(made.process, heap, resident);
    if (!one_by_one) request.on_block = nullptr;
    JemallocAccess access{};
    access.arenas_can_end = one_by_one;
    access.map = known;
    to += sums.text(jemalloc_census(access, request)) + (one_by_one ? "" : "| by blocks: ");
  }
  return to;
}

}  // namespace

TEST_CASE("from outside: what becomes of a jemalloc with one number that is another one") {
  for (const std::size_t i : {std::size_t{0}, std::size(kJemallocLayouts) - 1}) {
    const JemallocLayout& layout = kJemallocLayouts[i];
    MadeUpMap map(layout);
    map.put(slab_of_160(kFirst));
    map.put(large(kSecond));
    map.put(large(kThird + 64));
    map.process.put(kBooks + 64, std::uint64_t{0x8000'0000'0070'0000});  // which regions of the slab are free
    map.process.put(kBooks + 72, std::uint64_t{0x1003});
    constexpr std::uintptr_t kBlock = kHeap + (4 << 20);
    map.process.map(kBlock, 2 * kPage);
    map.process.put(kBlock, JemallocBaseBlock{2 << 20, 0, {0, kBlock + 5000, (2 << 20) - 5000}});
    const std::vector<std::uintptr_t> pages = {kFirst, kSecond, kThird};
    const JemallocMap known = map.find(pages);
    REQUIRE(known.layout == &layout);
    Damage damage(map.process, [&] { return look_at(map, pages, known); });
    damage.range("slab", kBooks, 128);
    damage.range("large", kBooks + 128, 24);
    damage.range("unaligned large", kBooks + 256, 24);
    damage.range("root", map.entry_of(kFirst), 8);
    for (const auto& [name, page] : {std::pair{"slab's element", kFirst}, {"its second", kFirst + kPage}, {"its last", kFirst + 4 * kPage},
                                     {"large's element", kSecond}, {"its last", kSecond + 4 * kPage}, {"free element", kSecond - kPage}})
      damage.range(name, map.element_of(page), layout.tables.element_words * 8);
    damage.range("base block", kBlock, sizeof(JemallocBaseBlock));
    expect_golden(("damage_jemalloc_" + std::to_string(i) + ".txt").c_str(), damage.text());
  }
}
