// SPDX-License-Identifier: Apache-2.0
// The censuses of mimalloc on processes that are made up: one of version 2.2 and one of version 3.4, whose
// allocator is a few lines that keep the structures of its pages.
#include <algorithm>
#include <map>
#include <vector>

#include "heaps/mimalloc.hpp"
#include "heaps/mimalloc_shapes.hpp"
#include "heaps/mimalloc_version.hpp"
#include "unit/catch.hpp"
#include "unit/damage.hpp"
#include "unit/golden.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uint64_t kPage = kPageBytes;

/// A mimalloc whose pages have one slice each, the first at `first_slice`.
class MadeUpMimalloc {
 public:
  MadeUpMimalloc(MadeUpProcess& process, std::uintptr_t first_slice) : process_(process), next_(first_slice) {
    current = this;
  }
  virtual ~MadeUpMimalloc() { current = nullptr; }

  struct PageOfBlocks {
    std::uintptr_t slice;
    std::uint64_t block_bytes, used, capacity, thread_free;
    std::uintptr_t owner = 0x7654'0000;  ///< the heap of a thread; 0: it has ended
  };

  MimallocAccess access() const {
    return {.malloc = [](std::size_t bytes) { return current->allocate(bytes); },
            .free = [](void* block) { current->release(block); },
            .usable_size = [](void* block) { return current->page_of(block).block_bytes - current->padding; },
            .data = data};
  }
  CensusResult census(MimallocAccess& asked, std::span<const AddressRange> heap) {
    units.clear();
    const std::vector<AddressRange> resident = process_.resident();
    return mimalloc_census(asked, {.process = process_,
                                   .heap = heap,
                                   .resident = resident,
                                   .sampled_blocks = {},
                                   .budget_bytes = ~std::uint64_t{0},
                                   .on_unit =
                                       [](const Unit& u, void* to) {
                                         auto& self = *static_cast<MadeUpMimalloc*>(to);
                                         self.units[u.begin] = u;
                                       },
                                   .opaque = this});
  }

  PageOfBlocks& add_page(std::uint64_t block_bytes, std::uint64_t used) {
    pages_.push_back({next_, block_bytes, used, used, 0});
    next_ += kMimallocSlice;
    return pages_.back();
  }
  virtual void write(const PageOfBlocks& page) = 0;

  std::map<std::uintptr_t, Unit> units;
  AddressRange data{};
  std::uint64_t padding = 0;  ///< of each block, which cannot be used
  bool forgets_to_count = false;

 protected:
  MadeUpProcess& process_;

 private:
  static inline MadeUpMimalloc* current;

  PageOfBlocks& page_of(const void* block) {
    for (PageOfBlocks& page : pages_)
      if (page.slice == (address_of(block) & ~(kMimallocSlice - 1))) return page;
    FAIL("a block of no page");
    return pages_.front();
  }
  void* allocate(std::size_t bytes) {
    bytes = align_up(bytes + padding, 128);
    PageOfBlocks* page = nullptr;
    for (PageOfBlocks& known : pages_)
      if (known.block_bytes == bytes) page = &known;
    if (!page) page = &add_page(bytes, 0);
    const std::uintptr_t block = page->slice + kFirstBlock + page->capacity++ * bytes;
    ++page->used;
    if (!forgets_to_count || page->used == 1) write(*page);
    return reinterpret_cast<void*>(block);
  }
  void release(void* block) {
    PageOfBlocks& page = page_of(block);
    --page.used;
    write(page);
  }

  std::vector<PageOfBlocks> pages_;
  std::uintptr_t next_;

 public:
  static constexpr std::uint64_t kFirstBlock = 256;
  static std::uint64_t reserved(const PageOfBlocks& page) {
    return (kMimallocSlice - kFirstBlock) / page.block_bytes;
  }
};

/// Version 2.2: a segment with an array of structures of 96 bytes, or 112 in a secure build.
class MadeUpMimalloc22 : public MadeUpMimalloc {
 public:
  static constexpr std::uintptr_t kSegment = 0x3456'0000'0000;
  static constexpr std::size_t kFirst = 296, kSlices = 512;

  MadeUpMimalloc22(MadeUpProcess& process, bool with_keys_too)
      : MadeUpMimalloc(process, kSegment + kMimallocSlice), keys_(with_keys_too ? 16 : 0) {
    process.map(kSegment, kMimallocSlice);
    process.put(kSegment + kFirst - 40, std::uint64_t{kSlices});
    process.put(kSegment + kFirst - 32, std::uint64_t{1});
    process.put(kSegment + kFirst - 16, std::uint64_t{kSlices});
    process.put(structure(0), std::uint32_t{1});
    free_after(1);
  }

  void write(const PageOfBlocks& page) override {
    process_.map_once(page.slice, kMimallocSlice);
    const std::size_t index = (page.slice - kSegment) / kMimallocSlice;
    const std::uintptr_t at = structure(index);
    process_.put(at, std::uint64_t{1});  // one slice, and none before
    process_.put(at + 10, static_cast<std::uint16_t>(page.capacity));
    process_.put(at + 12, static_cast<std::uint16_t>(reserved(page)));
    process_.put(at + 32, static_cast<std::uint16_t>(page.used));
    process_.put(at + 40, page.block_bytes);
    process_.put(at + 48, page.slice + kFirstBlock);
    if (keys_) {
      process_.put(at + 56, kKeys[0]);
      process_.put(at + 64, kKeys[1]);
    }
    process_.put(at + 56 + keys_, page.thread_free);
    process_.put(at + 64 + keys_, page.owner);
    last_ = std::max(last_, index);
    free_after(last_ + 1);
  }

  /// What an encoded link to `next` looks like; nullptr: the list ends.
  std::uint64_t encoded(const PageOfBlocks& page, std::uintptr_t next) const {
    const std::uintptr_t to = next ? next : structure((page.slice - kSegment) / kMimallocSlice);
    const std::uint64_t x = to ^ kKeys[1];
    return (x << kKeys[0] % 64 | x >> (64 - kKeys[0] % 64)) + kKeys[0];
  }

 private:
  std::uintptr_t structure(std::size_t index) const { return kSegment + kFirst + index * (96 + keys_); }
  void free_after(std::size_t index) {
    process_.put(structure(index), static_cast<std::uint32_t>(kSlices - index));
    process_.put(structure(index) + 40, std::uint64_t{0});
  }

  static constexpr std::uint64_t kKeys[] = {0x1234'5678'9abc'def3, 0x0fed'cba9'8765'4321};
  std::uint64_t keys_;
  std::size_t last_ = 0;
};

/// Version 3.4, or 3.0 or 3.2: an arena with its pages' structures in front, found by a map of two levels.
class MadeUpMimalloc34 : public MadeUpMimalloc {
 public:
  static constexpr std::uintptr_t kArena = 0x1'4000'0000, kData = 0x1000'0000, kMap = 0x2000'0000,
                                  kLowest = kMap + kPage, kSubmap = 0x3000'0000, kSubmapBytes = 64 << 10,
                                  kOwner = kArena + 40 * kMimallocSlice + 512;
  static constexpr std::uint64_t kArenaSlices = 64;

  explicit MadeUpMimalloc34(MadeUpProcess& process, const MimallocShape& shape = kMimallocPageMap34)
      : MadeUpMimalloc(process, kArena + 2 * kMimallocSlice), shape_(shape) {
    process.map(kArena, 2 * kMimallocSlice);
    process.put(kArena + 40, kArenaSlices);
    process.put(kArena + 48, std::uint64_t{2});
    process.map(kOwner & ~(kMimallocSlice - 1), kMimallocSlice);
    process.map(kData, kPage);
    process.put(kData + 0x420, kMap);
    process.map(kMap, kPage + kSubmapBytes);
    process.put(kMap, kLowest);
    process.map(kSubmap, kSubmapBytes);
    process.put(kMap + kArena / (512 << 20) * 8, kSubmap);
    data = {kData, kData + kPage};
  }

  void write(const PageOfBlocks& page) override {
    process_.map_once(page.slice, kMimallocSlice);
    const std::size_t index = (page.slice - kArena) / kMimallocSlice;
    const std::uintptr_t at = kArena + kPage + index * shape_.bytes;
    process_.put(kSubmap + page.slice % (512 << 20) / kMimallocSlice * 8, at);
    process_.put(at + 16, static_cast<std::uint16_t>(page.used));
    process_.put(at + 18, static_cast<std::uint16_t>(page.capacity));
    process_.put(at + 20, static_cast<std::uint16_t>(reserved(page)));
    process_.put(at + 32, page.thread_free | 1);
    process_.put(at + 40, page.block_bytes);
    const std::uintptr_t first = page.slice + kFirstBlock;
    if (shape_.start_is == MimallocStart::kAddress) process_.put(at + shape_.start, first);
    else process_.put(at + shape_.start, static_cast<std::uint32_t>((first - at) / 8));
    process_.put(at, page.owner ? std::uint64_t{0x7f12'3456'7001} : std::uint64_t{4});
    process_.put(at + shape_.owner, kOwner);
    process_.put(at + shape_.memory, kArena);
    process_.put(at + shape_.memory + 8, std::uint64_t{index} | std::uint64_t{1} << 32);
    process_.put(at + shape_.memory + 16, shape_.kind_of_arena);
  }

 private:
  const MimallocShape& shape_;
};

constexpr AddressRange kHeap22[] = {
    {MadeUpMimalloc22::kSegment - 2 * kPage, MadeUpMimalloc22::kSegment + (32 << 20)}};
constexpr AddressRange kHeap34[] = {
    {MadeUpMimalloc34::kMap, MadeUpMimalloc34::kMap + kPage + MadeUpMimalloc34::kSubmapBytes},
    {MadeUpMimalloc34::kSubmap, MadeUpMimalloc34::kSubmap + MadeUpMimalloc34::kSubmapBytes},
    {MadeUpMimalloc34::kArena, MadeUpMimalloc34::kArena + 64 * kMimallocSlice}};

}  // namespace

TEST_CASE("census: mimalloc 2.2, with blocks that another thread has freed, plain and secure") {
  for (const bool secure : {false, true}) {
    INFO("secure " << secure);
    MadeUpProcess process;
    process.map(MadeUpMimalloc22::kSegment - 2 * kPage, 2 * kPage);
    MadeUpMimalloc22 mimalloc(process, secure);
    mimalloc.padding = secure ? 16 : 0;
    auto page = mimalloc.add_page(2000, 7);
    // Two of the seven are freed, one more waits on the list of the thread's heap.
    const std::uintptr_t first = page.slice + MadeUpMimalloc::kFirstBlock + 2000, second = first + 3 * 2000;
    page.thread_free = first | 2;
    mimalloc.write(page);
    process.put(first, secure ? mimalloc.encoded(page, second) : second);
    process.put(second, secure ? mimalloc.encoded(page, 0) : 0);
    MimallocAccess access = mimalloc.access();
    const CensusResult result = mimalloc.census(access, kHeap22);
    REQUIRE(result.done);
    CHECK(result.raced == 0);
    REQUIRE(access.layout.shape);
    CHECK(access.layout.first == MadeUpMimalloc22::kFirst);
    CHECK((access.layout.shape->keys != 0) == secure);
    // The probes have been freed again: one page of live blocks, the header, and what is before the segment.
    REQUIRE(mimalloc.units.size() == 3);
    const Unit& unit = mimalloc.units.at(page.slice);
    CHECK((unit.kind == UnitKind::kBlocks && unit.end == page.slice + kMimallocSlice));
    CHECK((unit.block_bytes == 2000 && unit.live_bytes == 4 * 2000));
    CHECK_FALSE(unit.ownerless);
    page.owner = 0;
    mimalloc.write(page);
    REQUIRE(mimalloc.census(access, kHeap22).done);
    CHECK(mimalloc.units.at(page.slice).ownerless);
    CHECK(mimalloc.units.at(MadeUpMimalloc22::kSegment).kind == UnitKind::kMetadata);
    CHECK(mimalloc.units.at(MadeUpMimalloc22::kSegment).end == MadeUpMimalloc22::kSegment + kMimallocSlice);
    CHECK(mimalloc.units.at(kHeap22[0].begin).end == MadeUpMimalloc22::kSegment);
  }
}

TEST_CASE("census: mimalloc 3.4, its map, its arena and what describes its threads") {
  MadeUpProcess process;
  MadeUpMimalloc34 mimalloc(process);
  auto page = mimalloc.add_page(4096, 5);
  page.thread_free = page.slice + MadeUpMimalloc::kFirstBlock + 4096;
  mimalloc.write(page);
  MimallocAccess access = mimalloc.access();
  const CensusResult result = mimalloc.census(access, kHeap34);
  REQUIRE(result.done);
  CHECK(result.raced == 0);
  CHECK(access.layout.page_map == MadeUpMimalloc34::kMap);
  REQUIRE(mimalloc.units.size() == 5);
  const Unit& unit = mimalloc.units.at(page.slice);
  CHECK((unit.block_bytes == 4096 && unit.live_bytes == 4 * 4096));
  CHECK(unit.end == page.slice + kMimallocSlice);
  CHECK_FALSE(unit.ownerless);
  const auto metadata_end = [&](std::uintptr_t begin) {
    const Unit& u = mimalloc.units.at(begin);
    return u.kind == UnitKind::kMetadata ? u.end : 0;
  };
  CHECK(metadata_end(MadeUpMimalloc34::kMap) == MadeUpMimalloc34::kLowest + MadeUpMimalloc34::kSubmapBytes);
  CHECK(metadata_end(MadeUpMimalloc34::kSubmap) ==
        MadeUpMimalloc34::kSubmap + MadeUpMimalloc34::kSubmapBytes);
  CHECK(metadata_end(MadeUpMimalloc34::kArena) == MadeUpMimalloc34::kArena + 2 * kMimallocSlice);
  CHECK(metadata_end(MadeUpMimalloc34::kOwner & ~(kMimallocSlice - 1)) ==
        MadeUpMimalloc34::kArena + 41 * kMimallocSlice);
  page.owner = 0;
  mimalloc.write(page);
  REQUIRE(mimalloc.census(access, kHeap34).done);
  CHECK(mimalloc.units.at(page.slice).ownerless);
}

TEST_CASE("census: a mimalloc whose structures do not count what is allocated is refused") {
  MadeUpProcess process;
  MadeUpMimalloc22 two(process, false);
  two.forgets_to_count = true;
  MimallocAccess access = two.access();
  CHECK_FALSE(two.census(access, kHeap22).done);
  CHECK(two.units.empty());
  CHECK(std::string(two.census(access, kHeap22).why_not) != "");
  CHECK_FALSE(access.layout.shape);
}

namespace {

/// Pages of three sizes. \return an address in each
std::vector<std::uintptr_t> some_pages(MadeUpMimalloc& mimalloc, std::size_t count) {
  std::vector<std::uintptr_t> pages;
  for (std::size_t i = 0; i < count; ++i) {
    auto page = mimalloc.add_page(256 << i % 3, 3 + i);
    mimalloc.write(page);
    pages.push_back(page.slice + 2 * kPage);
  }
  return pages;
}

}  // namespace

TEST_CASE("census: a mimalloc that cannot be asked is known by several of its pages") {
  for (const bool secure : {false, true}) {
    MadeUpProcess process;
    MadeUpMimalloc22 two(process, secure);
    const auto pages = some_pages(two, 6);
    const MimallocLayout layout = find_mimalloc_layout(process, {}, pages);
    REQUIRE(layout.shape);
    CHECK((layout.first == MadeUpMimalloc22::kFirst && (layout.shape->keys != 0) == secure));
    CHECK(is_mimallocs(process, layout, pages[0]));
    CHECK_FALSE(is_mimallocs(process, layout, pages[0] + (std::uintptr_t{1} << 30)));
    MimallocAccess access{.layout = layout};
    const CensusResult result = two.census(access, kHeap22);
    CHECK((result.done && two.units.size() == 8));  // the header, too, and what is before the segment
  }
  MadeUpProcess process;
  MadeUpMimalloc34 three(process);
  const auto pages = some_pages(three, 4);
  const MimallocLayout layout = find_mimalloc_layout(process, three.data, pages);
  REQUIRE(layout.shape);
  CHECK(layout.page_map == MadeUpMimalloc34::kMap);
  CHECK(is_mimallocs(process, layout, pages[3]));
  CHECK_FALSE(is_mimallocs(process, layout, MadeUpMimalloc34::kOwner));
}

TEST_CASE("census: mimalloc 3.0 and 3.2, which differ in where a page has its owner, are told apart") {
  for (const MimallocShape* shape : {&kMimallocPageMap30, &kMimallocPageMap32}) {
    MadeUpProcess process;
    MadeUpMimalloc34 mimalloc(process, *shape);
    std::vector<std::uintptr_t> pages = some_pages(mimalloc, 4);
    for (int i = 0; i < 4; ++i) {  // more than are enough
      auto ownerless = mimalloc.add_page(512, 2);
      ownerless.owner = 0;
      mimalloc.write(ownerless);
      pages.insert(pages.begin(), ownerless.slice);
    }
    const MimallocLayout layout = find_mimalloc_layout(process, mimalloc.data, pages);
    REQUIRE(layout.shape);
    CHECK(layout.shape->owner == shape->owner);
    CHECK(is_mimallocs(process, layout, pages[0]));
    // Of full pages, which no thread has, what is left of the owner tells.
    const std::span<const std::uintptr_t> full(pages.data(), 4);
    const MimallocLayout by_full = find_mimalloc_layout(process, mimalloc.data, full);
    REQUIRE(by_full.shape);
    CHECK(by_full.shape->owner == shape->owner);
    for (std::size_t i = 0; i < 8; ++i)
      process.put(MadeUpMimalloc34::kArena + kPage + (2 + i) * shape->bytes + shape->owner, std::uint64_t{0});
    CHECK_FALSE(find_mimalloc_layout(process, mimalloc.data, full).shape);
  }
}

TEST_CASE("census: few pages, or memory of something else, make no mimalloc") {
  MadeUpProcess process;
  MadeUpMimalloc34 three(process);
  CHECK_FALSE(find_mimalloc_layout(process, three.data, some_pages(three, 2)).shape);
  MadeUpProcess other;
  std::vector<std::uintptr_t> pages;
  for (std::uintptr_t at = 0x3456'0000'0000; pages.size() < 8; at += kMimallocSlice) {
    other.map(at, kPage);
    for (std::uintptr_t word = at; word < at + kPage; word += 8)
      other.put(word, std::uint64_t{word * 0x9e37});
    pages.push_back(at);
  }
  CHECK_FALSE(find_mimalloc_layout(other, {pages[0], pages[0] + kPage}, pages).shape);
}

TEST_CASE("census: each shape of mimalloc's structures fits into its bytes") {
  for (const MimallocShape& s : kMimallocShapes) {
    CHECK(s.bytes <= kMostMimallocShapeBytes);
    CHECK(s.bytes % 8 == 0);
    for (const int end : {s.free + 8, s.local_free + 8, s.thread_free + 8, s.owner + 8, s.used + s.used_bytes,
                          s.block + s.block_bytes, s.keys ? s.keys + 16 : 0, s.memory ? s.memory + 17 : 0})
      CHECK(end <= s.bytes);
  }
}

TEST_CASE("mimalloc: what its version numbers mean") {
  const auto text = [](std::uint32_t number) {
    FixedText<32> to;
    return add_mimalloc_version(to, number) ? std::string(to.view()) : "";
  };
  CHECK(text(209) == "2.0.9");
  CHECK(text(224) == "2.2.4");
  CHECK(text(20302) == "2.3.2");
  CHECK(text(3012) == "3.0.12");
  CHECK(text(3208) == "3.2.8");
  CHECK(text(30403) == "3.4.3");
  CHECK(text(99) == "");
  CHECK(text(100000) == "");
}

namespace {

/// What is found of a mimalloc that cannot be asked, and what its census tells.
std::string look_at(const MadeUpProcess& process, AddressRange data, const std::vector<std::uintptr_t>& pages,
                    const MimallocLayout& layout, std::span<const AddressRange> heap) {
  const MimallocLayout found = find_mimalloc_layout(process, data, pages);
  std::string to = "not found; ";
  if (found.shape)
    to = "shape " + std::to_string(found.shape - kMimallocShapes) + " " + std::to_string(found.first) + " " +
         std::to_string(found.page_map) + "; ";
  std::size_t its = 0;
  for (const std::uintptr_t page : pages) its += is_mimallocs(process, layout, page);
  CensusSums sums;
  const std::vector<AddressRange> resident = process.resident();
  MimallocAccess access{.layout = layout};
  return to + std::to_string(its) + " pages are its; " +
         sums.text(mimalloc_census(access, sums.request(process, heap, resident)));
}

template <class MadeUp>
void expect_damage(const char* name, MadeUp& mimalloc, MadeUpProcess& process, std::span<const AddressRange> heap,
                   std::initializer_list<std::pair<const char*, AddressRange>> ranges) {
  std::vector<std::uintptr_t> pages = some_pages(mimalloc, 3);
  auto ownerless = mimalloc.add_page(1024, 5);
  ownerless.owner = 0;
  ownerless.thread_free = ownerless.slice + MadeUpMimalloc::kFirstBlock + 1024;
  mimalloc.write(ownerless);
  auto empty = mimalloc.add_page(64, 0);
  mimalloc.write(empty);
  const MimallocLayout layout = find_mimalloc_layout(process, mimalloc.data, pages);
  REQUIRE(layout.shape);
  Damage damage(process, [&] { return look_at(process, mimalloc.data, pages, layout, heap); });
  for (const auto& [what, range] : ranges) damage.range(what, range.begin, range.end - range.begin);
  expect_golden(name, damage.text());
}

}  // namespace

TEST_CASE("census: what becomes of a mimalloc with one number that is another one") {
  {
    MadeUpProcess process;
    process.map(MadeUpMimalloc22::kSegment - 2 * kPage, 2 * kPage);
    MadeUpMimalloc22 two(process, false);
    constexpr std::uintptr_t kArray = MadeUpMimalloc22::kSegment + MadeUpMimalloc22::kFirst;
    expect_damage("damage_mimalloc22.txt", two, process, kHeap22,
                  {{"segment", {kArray - 48, kArray}}, {"structures", {kArray, kArray + 7 * 96}}});
  }
  MadeUpProcess process;
  MadeUpMimalloc34 three(process);
  using Made = MadeUpMimalloc34;
  constexpr std::uintptr_t kStructures = Made::kArena + kPage, kLinks = Made::kSubmap + Made::kArena % (512 << 20) / kMimallocSlice * 8;
  expect_damage("damage_mimalloc34.txt", three, process, kHeap34,
                {{"data", {Made::kData + 0x418, Made::kData + 0x430}},
                 {"map", {Made::kMap, Made::kMap + 8}},
                 {"links", {kLinks, kLinks + 8 * 8}},
                 {"arena", {Made::kArena + 24, Made::kArena + 80}},
                 {"structures", {kStructures + 2 * 112, kStructures + 7 * 112}}});
}
