// SPDX-License-Identifier: Apache-2.0
// The heap map on hand-made units, and the points in time that reports leave behind.
#include <time.h>

#include <cstdio>
#include <vector>

#include "report/divide/heap_map.hpp"
#include "report/judge/past.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;
using heaps::Unit;
using heaps::UnitKind;

namespace {

constexpr std::uintptr_t kBase = 0x10000000;
constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

Unit blocks_at(std::uintptr_t begin, std::uint64_t bytes, std::uint64_t live, std::uint64_t overhead = 0) {
  return {begin, begin + bytes, UnitKind::kBlocks, 0, live, overhead};
}

double thread_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

struct Sums {
  double resident = 0, live = 0, holes = 0;
};
Sums sums_of(const HeapMap& map) {
  Sums s;
  for (const HeapCell& c : map.cells()) {
    s.resident += static_cast<double>(c.resident);
    s.live += c.live;
    s.holes += c.holes;
  }
  return s;
}

}  // namespace

TEST_CASE("heap map: cells are 4 KiB where they are few, and only where something is in memory") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 12 * kKiB}, {kBase + kMiB, kBase + kMiB + 4 * kKiB}};
  REQUIRE(map.begin(arena, ranges, {}));
  CHECK(map.cell_bytes() == 4096);
  REQUIRE(map.stretches().size() == 2);
  CHECK(map.stretches()[0].count == 3);
  CHECK(map.stretches()[1].begin == kBase + kMiB);
  CHECK(map.stretches()[1].first == 3);
  CHECK_FALSE(map.divided());
  map.add(blocks_at(kBase, 8 * kKiB, 1000, 96));
  map.add({kBase + 8 * kKiB, kBase + 12 * kKiB, UnitKind::kNotExamined, 0, 0, 0});
  map.add({kBase + kMiB, kBase + kMiB + 4 * kKiB, UnitKind::kMetadata, 0, 0, 0});
  map.limit_to_resident();
  CHECK(map.divided());
  CHECK(map.cells()[0].live == 500);
  CHECK(map.cells()[0].holes == (8192.0 - 1000 - 96) / 2);
  CHECK(map.cells()[0].known());
  CHECK_FALSE(map.cells()[2].known());
  CHECK(map.cells()[3].live == 0);
  CHECK(map.cells()[3].holes == 0);
}

TEST_CASE("heap map: what is not in memory has no live bytes; sums are those of the units") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 4 * kKiB}, {kBase + 12 * kKiB, kBase + 16 * kKiB}};
  REQUIRE(map.begin(arena, ranges, {}));
  map.add(blocks_at(kBase, 16 * kKiB, 16 * kKiB));  // one large block, half of it in memory
  map.limit_to_resident();
  const Sums s = sums_of(map);
  CHECK(s.resident == 8192);
  CHECK(s.live == 8192);
  CHECK(s.holes == 0);
}

TEST_CASE("heap map: never more than its cells, however large or scattered the heap is") {
  Arena arena;
  std::vector<AddressRange> ranges;
  SECTION("large") { ranges.push_back({kBase, kBase + (std::uint64_t{1} << 43)}); }
  SECTION("scattered") {
    for (std::uint64_t i = 0; i < 60'000; ++i) ranges.push_back({i << 24, (i << 24) + 4 * kKiB});
  }
  SECTION("nothing") {}
  HeapMap map;
  REQUIRE(map.begin(arena, ranges, {}));
  CHECK(map.cells().size() <= HeapMap::kMostCells);
  CHECK(map.cells().size() * 4 >= (ranges.empty() ? 0 : HeapMap::kMostCells));  // and no coarser than need be
  double bytes = 0;
  for (const AddressRange& r : ranges) bytes += static_cast<double>(r.end - r.begin);
  CHECK(sums_of(map).resident == bytes);
  map.add(blocks_at(0, std::uint64_t{1} << 46, 100));  // far beyond the map at both ends
}

TEST_CASE("heap map: the site that pins most, and who is asked next") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 8 * kKiB}};
  const SampledBlock blocks[] = {{kBase + 100, 90, 100, 2, 7},
                                 {kBase + 300, 90, 100, 1, 8},
                                 {kBase + 500, 90, 100, 1.5, 8},
                                 {kBase + 4096, 4096, 4096, 1, 9}};
  REQUIRE(map.begin(arena, ranges, blocks));
  int passed = 0;
  map.pass_on([](const Unit&, void* n) { ++*static_cast<int*>(n); }, &passed);
  HeapMap::on_unit(blocks_at(kBase, 4 * kKiB, 1000), &map);
  HeapMap::on_unit(blocks_at(kBase + 4 * kKiB, 4 * kKiB, 4096), &map);
  map.limit_to_resident();
  CHECK(passed == 2);
  CHECK(map.cells()[0].pinned_by().site == 8);
  CHECK(map.cells()[1].pinned_by().site == 9);
  CHECK(map.cells()[1].pinned_by().bytes == 4096.0f);
}

TEST_CASE("heap map: what exact books count and claim") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 12 * kKiB}};
  REQUIRE(map.begin(arena, ranges, {}));
  map.leave_out(kBase + 8 * kKiB, kBase + 12 * kKiB);
  map.count(kBase, kBase + 4 * kKiB, 900, 100);
  map.claim(kBase, kBase + 8 * kKiB, 3, 200);
  map.limit_to_resident();
  CHECK(map.cells()[0].live == 900);
  CHECK(map.cells()[0].pinned_by().site == 3);
  CHECK(map.cells()[1].pinned_by().bytes == 100.0f);
  CHECK_FALSE(map.cells()[2].known());
  map.clear();
  CHECK(map.cells()[0].live == 0);
  CHECK(map.cells()[0].resident == 4096);
  CHECK_FALSE(map.divided());
}

TEST_CASE("heap map: of many sites in one cell the largest is found") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 4 * kKiB}};
  std::vector<SampledBlock> blocks;
  for (std::uint32_t i = 0; i < 60; ++i) blocks.push_back({kBase + i * 64, 60, 64, 1, i % 2 ? 5 : 100 + i});
  REQUIRE(map.begin(arena, ranges, blocks));
  map.add(blocks_at(kBase, 4 * kKiB, 60 * 64));
  CHECK(map.cells()[0].pinned_by().site == 5);
}

TEST_CASE("heap map: an 8 GiB heap in units of 4 KiB costs little") {
  Arena arena;
  HeapMap map;
  const AddressRange ranges[] = {{kBase, kBase + 8 * 1024 * kMiB}};
  std::vector<SampledBlock> blocks;
  for (std::uint64_t i = 0; i < 16'384; ++i) blocks.push_back({kBase + i * 512 * kKiB, 100, 112, 5000, 1});
  REQUIRE(map.begin(arena, ranges, blocks));
  constexpr std::uint64_t kUnits = 2'000'000;
  const double began = thread_ns();
  for (std::uint64_t i = 0; i < kUnits; ++i) map.add(blocks_at(kBase + i * 4096, 4096, 2000, 64));
  map.limit_to_resident();
  const double ns = thread_ns() - began;
  std::printf("heap map: %.0f ns for each unit\n", ns / static_cast<double>(kUnits));
  CHECK(ns / static_cast<double>(kUnits) < 500);  // some 20; machines are busy
  CHECK(sums_of(map).live == 2000.0 * static_cast<double>(kUnits));
}

TEST_CASE("past: points are kept in bounds, the first for good, evenly thinned out") {
  forget_points();
  Snapshot s{};
  s.recording.on = true;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    s.rss.total = i;
    const Past past = keep_point(s, 1000 + i);
    REQUIRE(past.points.size() < kPastPoints);
    REQUIRE(past.now_ns == 1000 + i);
    if (i == 0) {
      REQUIRE(past.points.empty());
      continue;
    }
    REQUIRE(past.points.front().rss_bytes == 0);
    REQUIRE(i - past.points.back().rss_bytes <= 2);  // thinning out may take the latest
    for (std::size_t k = 1; k < past.points.size(); ++k)
      REQUIRE(past.points[k - 1].taken_ns < past.points[k].taken_ns);
    REQUIRE(past.points.size() >= (i < kPastPoints ? i : kPastPoints / 2));
  }
  forget_points();
  CHECK(keep_point(s, 1).points.empty());
  forget_points();
}
