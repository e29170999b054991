// SPDX-License-Identifier: Apache-2.0
// The map of blocks, and the search through them, on a process that is made up.
#include <vector>

#include "outside/block_map.hpp"
#include "outside/reach.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::outside;

namespace {

constexpr std::uintptr_t kHeap = 0x5555'4000'0000, kRoots = 0x7fff'0000'0000;
constexpr std::uintptr_t kMega = 1 << 20;

struct Searched {
  MadeUpProcess process;
  BlockMap blocks;
  std::vector<AddressRange> present;

  void add(std::uintptr_t at, std::uint64_t bytes) {
    REQUIRE(blocks.add(at, bytes));
    process.map_once(at & ~(kPageBytes - 1), kPageBytes);
  }
  /// Follows the words of the first page of roots.
  void search() {
    blocks.end_of_blocks();
    present = process.resident();
    PageCache pages(process, present);
    Reach reach(blocks, pages);
    REQUIRE(pages.has_memory());
    REQUIRE(reach.begin());
    reach.from_memory(kRoots, kRoots + kPageBytes);
    reach.finish();
  }
  bool is_reached(std::uintptr_t at) const { return blocks.is_marked(blocks.block_at(at)); }
};

bool has(const BlockMap& map, std::uintptr_t at, std::uintptr_t begin, std::uint64_t bytes) {
  const FoundBlock block = map.find(at);
  return block.begin == begin && (begin == 0 || block.bytes == bytes);
}

}  // namespace

TEST_CASE("map of blocks: an address inside finds its block, one in a gap finds none") {
  BlockMap map;
  const std::uintptr_t small = kHeap + 16, next = small + 24, far = kHeap + 4096;
  const std::uintptr_t large = kHeap + kMega - 4096, behind = large + 3 * kMega + 8;
  // The order does not matter.
  for (const auto& [at, bytes] : std::vector<std::pair<std::uintptr_t, std::uint64_t>>{
           {far, 8}, {small, 24}, {behind, 8192}, {next, 104}, {large, 3 * kMega}})
    REQUIRE(map.add(at, bytes));
  map.end_of_blocks();
  CHECK(map.count() == 5);
  CHECK(has(map, small, small, 24));
  CHECK(has(map, small + 23, small, 24));
  CHECK(has(map, next, next, 104));
  CHECK(has(map, next + 104, 0, 0));
  CHECK(has(map, far + 7, far, 8));
  CHECK(has(map, far + 8, 0, 0));
  CHECK(has(map, large + 2 * kMega + 5, large, 3 * kMega));
  CHECK(has(map, large + 3 * kMega, 0, 0));
  CHECK(has(map, behind + 8191, behind, 8192));
  CHECK(has(map, behind + 8192, 0, 0));
  CHECK(has(map, kHeap, 0, 0));
  CHECK(has(map, 0, 0, 0));
  map.remove(next);
  CHECK(has(map, next + 8, 0, 0));
  CHECK(has(map, small + 8, small, 24));
  map.remove(large);
  CHECK(has(map, large + kMega, 0, 0));
  CHECK(map.bytes() == 24 + 8 + 8192);
}

TEST_CASE("map of blocks: notes outlive a look") {
  BlockMap map;
  REQUIRE(map.add(kHeap, 64));
  map.end_of_blocks();
  map.note(kHeap, true);
  map.begin_look();
  CHECK(has(map, kHeap, 0, 0));
  std::vector<std::uintptr_t> noted;
  map.each_note([&](std::uintptr_t at) { noted.push_back(at); });
  CHECK(noted == std::vector<std::uintptr_t>{kHeap});
  CHECK(map.block_at(kHeap).begin == 0);
}

TEST_CASE("reach: chains, addresses inside, and tags are followed; what nothing leads to is not") {
  Searched s;
  for (std::uintptr_t i = 0; i < 8; ++i) s.add(kHeap + i * 4096, 64);
  s.process.map(kRoots, kPageBytes);
  const auto at = [](std::uintptr_t i) { return kHeap + i * 4096; };
  s.process.put(kRoots + 8, at(0) + 63);                                    // inside the block
  s.process.put(kRoots + 16, at(1) | 7);                                    // low bits
  s.process.put(kRoots + 24, at(2) | std::uintptr_t{0xfff8} << 48);         // high bits
  s.process.put(kRoots + 36, at(3));                                        // not aligned
  s.process.put(at(2) + 56, at(4));                                         // from block to block
  s.process.put(at(5), at(6));                                              // a lost one and what it leads to
  s.process.put(at(4) + 64, at(7));                                         // beyond the end of a block
  s.search();
  for (const std::uintptr_t i : {0, 1, 2, 4}) CHECK(s.is_reached(at(i)));
  for (const std::uintptr_t i : {3, 5, 6, 7}) CHECK_FALSE(s.is_reached(at(i)));
}

TEST_CASE("reach: more blocks than there is room for wait, and are followed in the end") {
  constexpr std::uintptr_t kCount = 100'000, kTable = kHeap + 64 * kMega;
  Searched s;
  s.process.map(kRoots, kPageBytes);
  s.process.map(kTable, kCount * 8);
  REQUIRE(s.blocks.add(kTable, kCount * 8));
  s.process.map(kHeap, kCount * 2 * 16);
  for (std::uintptr_t i = 0; i < kCount; ++i) {
    REQUIRE(s.blocks.add(kHeap + i * 32, 16));
    REQUIRE(s.blocks.add(kHeap + i * 32 + 16, 16));
    s.process.put(kTable + i * 8, kHeap + i * 32);
    s.process.put(kHeap + i * 32, kHeap + (kCount - 1 - i) * 32 + 16);
  }
  s.process.put(kRoots, kTable + 100);
  s.search();
  std::uint64_t reached = 0;
  s.blocks.each([&](const FoundBlock& block) { reached += s.blocks.is_marked(block); });
  CHECK(reached == 2 * kCount + 1);
}

TEST_CASE("reach: pages that are swapped out are not read") {
  Searched s;
  s.add(kHeap, 64);
  s.process.map(kRoots, kPageBytes);
  s.process.put(kRoots, kHeap);
  s.process.swap_out(kRoots);
  s.search();
  CHECK_FALSE(s.is_reached(kHeap));
  CHECK(s.process.reads_of_swapped_out == 0);
}
