// SPDX-License-Identifier: Apache-2.0
// A page of mimalloc whose structure has been read: its live blocks, one by one, and what of it is free.
#include "heaps/mimalloc_pages.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "base/attributes.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kBegin = 0x1234'4000'0000, kEnd = kBegin + kMimallocSlice, kFirst = kBegin + 64;
constexpr std::uint64_t kBytes = 64;  // of a block
constexpr std::uintptr_t kStructure = 0x1233'0000'0080;

std::uintptr_t at(std::uint64_t index) { return kFirst + index * kBytes; }

/// A page of 1,000 blocks, of which 10 are in use: two of them were freed by other threads.
class MadeUpPage {
 public:
  MadeUpPage() {
    process.map(kBegin, kMimallocSlice);
    list({2, 5});
    list({900});
    list({9, 11});
    page.free_lists[0] = at(2);
    page.free_lists[1] = at(900);
    page.thread_free = at(9);
  }
  /// Blocks that lead to each other, in this order.
  void list(std::initializer_list<std::uint64_t> indices) {
    const std::uint64_t* before = nullptr;
    for (const std::uint64_t& i : indices) {
      if (before) put_link(*before, at(i));
      before = &i;
    }
    put_link(*before, 0);
  }
  void put_link(std::uint64_t index, std::uintptr_t next) {
    if (page.keys[0] | page.keys[1]) {
      const unsigned turn = page.keys[0] % 64;
      const std::uint64_t mixed = (next ? next : kStructure) ^ page.keys[1];
      next = (turn == 0 ? mixed : mixed << turn | mixed >> (64 - turn)) + page.keys[0];
    }
    process.put(at(index), next);
  }

  struct Block {
    std::uintptr_t begin;
    std::uint64_t bytes;
    bool is_sure;
  };
  struct Told {
    std::vector<Block> blocks;
    std::vector<Unit> units;
    CensusResult result;
  };
  Told tell(std::uint64_t freed = 0) const {
    Told told{};
    const std::vector<AddressRange> heap = {{kBegin, page.end}}, resident = process.resident();
    const CensusRequest request{
        .process = process,
        .heap = heap,
        .resident = resident,
        .sampled_blocks = {},
        .budget_bytes = ~std::uint64_t{0},
        .on_unit = [](const Unit& u, void* to) { static_cast<Told*>(to)->units.push_back(u); },
        .opaque = &told,
        .on_block = [](std::uintptr_t begin, std::uint64_t bytes, bool is_sure,
                       void* to) { static_cast<Told*>(to)->blocks.push_back({begin, bytes, is_sure}); }};
    MimallocPages pages(request);
    told.result = pages.run([&] { pages.report(page, freed); });
    return told;
  }

  MadeUpProcess process;
  MimallocPage page{.begin = kBegin,
                    .end = kEnd,
                    .block_bytes = kBytes,
                    .used = 898,
                    .reserved = 1000,
                    .thread_free = 0,
                    .keys = {0, 0},
                    .structure = kStructure,
                    .ownerless = false,
                    .first_block = kFirst};
};

void check_blocks(const MadeUpPage::Told& told) {
  // 898 in use and three on the owner's lists: 901 have been made, of which five are free.
  REQUIRE(told.blocks.size() == 896);
  std::size_t n = 0;
  for (std::uint64_t i = 0; i < 901; ++i) {
    if (i == 2 || i == 5 || i == 900 || i == 9 || i == 11) continue;
    CHECK((told.blocks[n].begin == at(i) && told.blocks[n].bytes == kBytes && told.blocks[n].is_sure));
    ++n;
  }
}

/// Whether the page's blocks are told as memory of which nothing is known.
template <class Change>
bool is_unsure(Change change) {
  MadeUpPage made;
  change(made);
  const MadeUpPage::Told told = made.tell();
  const bool unsure = told.blocks.size() == 1 && !told.blocks[0].is_sure;
  if (unsure) CHECK((told.blocks[0].begin == kBegin && told.blocks[0].bytes == made.page.end - kBegin));
  return unsure;
}

}  // namespace

TEST_CASE("mimalloc's pages: blocks that no list has are live") {
  const MadeUpPage made;
  const MadeUpPage::Told told = made.tell();
  check_blocks(told);
  REQUIRE(told.units.size() == 1);
  CHECK((told.units[0].begin == kBegin && told.units[0].end == kEnd));
  CHECK(told.units[0].kind == UnitKind::kBlocks);
  CHECK(told.units[0].block_bytes == kBytes);
  CHECK(told.units[0].live_bytes == 896 * kBytes);
  CHECK(told.result.free_memory.uncollected == 2 * kBytes);
  CHECK(told.result.free_memory.kept_pages == 0);
  CHECK(told.result.raced == 0);
  CHECK(told.result.done);
  // What is known to be free otherwise is not live either; a page without lists has nothing of an earlier one's.
  CHECK(made.tell(6).units.at(0).live_bytes == 890 * kBytes);
  MadeUpPage other;
  other.page.free_lists[0] = other.page.free_lists[1] = other.page.thread_free = 0;
  CHECK(other.tell().blocks.size() == 898);
  CHECK(other.tell().units.at(0).live_bytes == 898 * kBytes);
}

TEST_CASE("mimalloc's pages: links of secure builds are decoded") {
  for (const std::uint64_t key : {std::uint64_t{0x1122334455667788}, std::uint64_t{0x1122334455667780}, std::uint64_t{64}, std::uint64_t{1}}) {
    MadeUpPage made;
    made.page.keys[0] = key;
    made.page.keys[1] = 0x99aabbccddeeff01;
    made.list({2, 5});
    made.list({900});
    made.list({9, 11});
    const MadeUpPage::Told told = made.tell();
    check_blocks(told);
    CHECK(told.result.free_memory.uncollected == 2 * kBytes);
    CHECK(told.result.raced == 0);
  }
}

TEST_CASE("mimalloc's pages: where lists do not add up no block is told") {
  CHECK_FALSE(is_unsure([](MadeUpPage&) {}));
  CHECK(is_unsure([](MadeUpPage& m) { m.page.first_block = 0; }));
  CHECK(is_unsure([](MadeUpPage& m) { m.page.block_bytes = 60; }));
  CHECK(is_unsure([](MadeUpPage& m) { m.put_link(5, at(2)); }));              // a ring
  CHECK(is_unsure([](MadeUpPage& m) { m.put_link(5, at(900)); }));            // on two lists
  CHECK(is_unsure([](MadeUpPage& m) { m.put_link(5, at(6) + 8); }));          // between two blocks
  CHECK(is_unsure([](MadeUpPage& m) { m.put_link(5, kFirst - kBytes); }));    // before the first
  CHECK_FALSE(is_unsure([](MadeUpPage& m) { m.list({2, 5, 999}); }));
  CHECK(is_unsure([](MadeUpPage& m) { m.list({2, 5, 1000}); }));              // behind the last
  CHECK_FALSE(is_unsure([](MadeUpPage& m) { m.page.used = 997; }));
  CHECK(is_unsure([](MadeUpPage& m) { m.page.used = 998; }));                 // more than there are
  CHECK_FALSE(is_unsure([](MadeUpPage& m) { m.page.used = 2; }));
  CHECK(is_unsure([](MadeUpPage& m) { m.page.used = 1; }));                   // two of them are free already
  // Memory that is gone.
  CHECK(is_unsure([](MadeUpPage& m) {
    m.page.end = kBegin + 2 * kMimallocSlice;
    m.page.reserved = 2000;
    m.put_link(5, at(1500));
  }));
}

TEST_CASE("mimalloc's pages: a page knows nothing of the free blocks of the one before it") {
  MadeUpPage made;
  made.page.block_bytes = 8;
  made.page.reserved = 8000;
  made.page.used = 7990;
  made.page.free_lists[0] = kFirst + 7995 * 8;
  made.page.free_lists[1] = made.page.thread_free = 0;
  CHECK(made.tell().blocks.size() == 7991);  // that one was never handed out
  made.page.free_lists[0] = 0;
  made.page.used = 8000;
  CHECK(made.tell().blocks.size() == 8000);
}

TEST_CASE("mimalloc's pages: 65,536 blocks of a page are told one by one") {
  for (const std::uint64_t reserved : {65536, 65537}) {
    MadeUpPage made;
    made.page = {.begin = kBegin,
                 .end = kBegin + 9 * kMimallocSlice,
                 .block_bytes = 8,
                 .used = 3,
                 .reserved = reserved,
                 .thread_free = 0,
                 .keys = {0, 0},
                 .structure = kStructure,
                 .ownerless = true,
                 .first_block = kFirst};
    const MadeUpPage::Told told = made.tell();
    CHECK(told.blocks.size() == (reserved == 65536 ? 3 : 1));
    CHECK(told.blocks.at(0).is_sure == (reserved == 65536));
    CHECK(told.units.at(0).live_bytes == 24);
  }
}

TEST_CASE("mimalloc's pages: a list of other threads is followed as far as it can be one") {
  const auto uncollected = [](std::uint64_t index, std::uintptr_t next, std::uint64_t raced) {
    MadeUpPage made;
    made.put_link(index, next);
    const MadeUpPage::Told told = made.tell();
    CHECK(told.result.raced == raced);
    return told.result.free_memory.uncollected / kBytes;
  };
  CHECK(uncollected(9, at(7), 0) == 2);            // back, to a block that leads nowhere
  CHECK(uncollected(9, 0, 0) == 1);
  CHECK(uncollected(9, at(10) + 8, 1) == 1);       // between two blocks
  CHECK(uncollected(9, at(8) + 8, 1) == 1);
  CHECK(uncollected(9, kBegin - kBytes, 1) == 1);  // out of the page
  CHECK(uncollected(9, kEnd, 1) == 1);
  CHECK(uncollected(9, kBegin, 0) == 2);           // the first block that can be
  CHECK(uncollected(9, kEnd - kBytes, 0) == 2);    // and the last
  CHECK(uncollected(11, at(9), 0) == 898);         // a ring, as long as there are blocks in use
  // Links that are plain in a build that encodes them: as they are while a list changes hands.
  MadeUpPage plain;
  plain.page.keys[0] = 0x1122334455667788;
  CHECK(plain.tell().result.free_memory.uncollected == 2 * kBytes);
  CHECK(plain.tell().result.raced == 0);
}

TEST_CASE("mimalloc's pages: pages without a live block are kept, and those that cannot be are not read") {
  MadeUpPage made;
  made.page.used = 2;
  MadeUpPage::Told told = made.tell();
  CHECK(told.units.empty());
  CHECK(told.result.free_memory.kept_pages == kMimallocSlice);
  CHECK(told.result.free_memory.uncollected == 2 * kBytes);
  made.page.used = 0;
  told = made.tell();
  CHECK(told.units.empty());
  CHECK(told.result.free_memory.kept_pages == kMimallocSlice);
  CHECK(told.result.free_memory.uncollected == 0);
  const auto raced = [](std::uint64_t used, std::uint64_t reserved, std::uint64_t block_bytes) {
    MadeUpPage m;
    m.page.used = used;
    m.page.reserved = reserved;
    m.page.block_bytes = block_bytes;
    m.page.free_lists[0] = m.page.free_lists[1] = m.page.thread_free = 0;
    const MadeUpPage::Told t = m.tell();
    CHECK(t.units.size() == (t.result.raced ? 0 : 1));
    return t.result.raced == 1;
  };
  CHECK_FALSE(raced(1000, 1000, 64));
  CHECK(raced(1001, 1000, 64));
  CHECK(raced(1, 1000, 0));
  CHECK_FALSE(raced(1, 1024, 64));
  CHECK(raced(1, 1025, 64));
  CHECK(raced(1, 1024, 65));
}

namespace {

/// Pages one after the other, of two free blocks of other threads each or of none.
struct Heap {
  static constexpr std::uint64_t kPages = 64;
  MadeUpPage one;

  std::vector<Unit> examine(std::uint64_t budget, bool has_lists, std::uint64_t reserved, std::uint64_t* kept = nullptr) {
    std::vector<Unit> units;
    one.process.map_once(kEnd, (kPages - 1) * kMimallocSlice);
    const std::vector<AddressRange> heap = {{kBegin, kBegin + kPages * kMimallocSlice}};
    const CensusRequest request{.process = one.process,
                                .heap = heap,
                                .resident = heap,
                                .sampled_blocks = {},
                                .budget_bytes = budget,
                                .on_unit = [](const Unit& u, void* to) { static_cast<std::vector<Unit>*>(to)->push_back(u); },
                                .opaque = &units};
    MimallocPages pages(request);
    const CensusResult result = pages.run([&] {
      for (std::uint64_t n = 0; n < kPages; ++n) {
        MimallocPage page = one.page;
        page.begin += n * kMimallocSlice;
        page.end += n * kMimallocSlice;
        page.used = reserved;
        page.reserved = reserved;
        page.thread_free = has_lists ? page.begin + 64 : 0;
        pages.report(page, 0);
      }
      pages.keep(kBegin, kEnd);
      pages.keep(kEnd, kEnd);
      pages.report_metadata(kBegin, kBegin + 64);
      pages.report_metadata(kBegin, kBegin);
    });
    CHECK(result.done);
    CHECK(result.raced == 0);
    if (kept) *kept = result.free_memory.kept_pages;
    return units;
  }
};

std::uint64_t count(const std::vector<Unit>& units, UnitKind kind) {
  std::uint64_t n = 0;
  for (const Unit& u : units) n += u.kind == kind;
  return n;
}

}  // namespace

TEST_CASE("mimalloc's pages: some stand for all where following their lists takes too long") {
  Heap heap;
  constexpr std::uint64_t kAll = Heap::kPages * kMimallocSlice;
  std::uint64_t kept = 0;
  std::vector<Unit> units = heap.examine(kAll, true, 1000, &kept);
  CHECK(count(units, UnitKind::kBlocks) == Heap::kPages);
  CHECK(count(units, UnitKind::kMetadata) == 1);
  CHECK(kept == kMimallocSlice);
  units = heap.examine(kAll / 4, true, 1000, &kept);  // one in five
  CHECK(count(units, UnitKind::kBlocks) + count(units, UnitKind::kNotExamined) == Heap::kPages);
  CHECK(count(units, UnitKind::kBlocks) >= 5);
  CHECK(count(units, UnitKind::kBlocks) <= 25);
  CHECK(count(units, UnitKind::kMetadata) == 1);
  CHECK(kept == kMimallocSlice);
  for (const Unit& u : units)
    if (u.kind == UnitKind::kNotExamined)
      CHECK((u.block_bytes == kBytes && u.live_bytes == 0 && u.overhead_bytes == 0 && u.end - u.begin == kMimallocSlice));
  // A page of one block has no list to follow; without lists, or a budget, all are examined.
  CHECK(count(heap.examine(kAll / 4, true, 1), UnitKind::kNotExamined) == 0);
  CHECK(count(heap.examine(kAll / 4, false, 1000), UnitKind::kBlocks) == Heap::kPages);
  CHECK(count(heap.examine(0, true, 1000), UnitKind::kBlocks) == Heap::kPages);
}

TEST_CASE("mimalloc's pages: a shape is a candidate while it describes every block, and fits once its page counts them") {
  MimallocStructure s{};
  s.at = 0x1000;
  const auto fits_after = [&s](std::initializer_list<std::uint64_t> used) {
    MimallocCandidate candidate;
    for (const std::uint64_t n : used) {
      s.used = n;
      candidate.add(&s);
    }
    CHECK_FALSE(candidate.is_out());
    return candidate.fits();
  };
  CHECK(fits_after({7, 8, 9, 10, 11}));
  CHECK_FALSE(fits_after({7, 8, 9, 10}));
  CHECK_FALSE(fits_after({7, 8, 9, 10, 10}));
  CHECK_FALSE(fits_after({11, 10, 9, 8, 7}));
  CHECK(fits_after({7, 8, 9, 3, 4, 5}));
  MimallocCandidate elsewhere;
  for (std::uint64_t n = 1; n < 10; ++n) {
    s.used = n;
    s.at = 0x1000 * n;  // each of a page of its own
    elsewhere.add(&s);
  }
  CHECK_FALSE(elsewhere.fits());
  MimallocCandidate out;
  for (s.used = 1, s.at = 0x1000; s.used < 6; ++s.used) out.add(&s);
  CHECK(out.fits());
  out.add(nullptr);
  CHECK(out.is_out());
  CHECK_FALSE(out.fits());
}

namespace {

std::vector<std::size_t> g_asked;
std::size_t g_freed, g_most;

void* asked_malloc(std::size_t bytes) {
  if (g_asked.size() == g_most) return nullptr;
  g_asked.push_back(bytes);
  return reinterpret_cast<void*>(0x1000 * g_asked.size());
}

}  // namespace

TEST_CASE("mimalloc's pages: it is asked for blocks of one size, then of larger ones, and gets all back") {
  const MimallocAccess access{.malloc = asked_malloc,
                              .free = [](void*) { ++g_freed; },
                              .usable_size = [](void* p) { return address_of(p) + 8; },
                              .data = {}};
  for (const std::size_t most : {std::size_t{100}, std::size_t{5}}) {
    g_asked.clear();
    g_freed = 0;
    g_most = most;
    {
      MimallocProbes probes(access);
      std::uintptr_t n = 0;
      while (n < 20 && probes.next()) {
        ++n;
        CHECK(probes.block() == 0x1000 * n);
        CHECK(probes.usable() == 0x1000 * n + 8);
      }
      CHECK(n == (most == 5 ? 5 : 12));
    }
    CHECK(g_freed == g_asked.size());
  }
  g_asked.clear();
  g_most = 100;
  MimallocProbes probes(access);
  while (probes.next()) {
  }
  CHECK(g_asked == std::vector<std::size_t>{1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 700, 1400, 2800, 5600});
}
