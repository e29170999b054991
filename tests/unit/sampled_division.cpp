// SPDX-License-Identifier: Apache-2.0
// Shares of resident memory on hand-made units: charges, totals, calibration, intervals, cost.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include "report/divide/sampled_division.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;
using heaps::Unit;
using heaps::UnitKind;
/// Sums of doubles: equal but for their last digits.
struct About {
  template <class T>
  explicit About(T v) : value(static_cast<double>(v)) {}
  friend bool operator==(double a, const About& b) {
    return std::abs(a - b.value) <= 1e-6 + 1e-9 * std::abs(b.value);
  }
  double value;
};

namespace {

constexpr std::uintptr_t kBase = 0x10000000;
constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

struct Heap {
  std::vector<ResidentRun> runs;
  std::vector<SampledBlock> blocks;
  std::vector<Unit> units;
  std::vector<AddressRange> zeros;
  BeyondEvidence evidence{};

  Heap& resident(std::uintptr_t begin, std::uint64_t bytes) {
    const std::uint64_t before =
        runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
    runs.push_back({begin, begin + bytes, before, false, false});
    return *this;
  }
  Heap& unit(std::uintptr_t begin, std::uint64_t bytes, std::uint64_t live, std::uint64_t block = 0,
             std::uint64_t overhead = 0, UnitKind kind = UnitKind::kBlocks) {
    units.push_back({begin, begin + bytes, kind, block, live, overhead});
    return *this;
  }
  Heap& block(std::uintptr_t begin, std::uint64_t asked, std::uint64_t usable, double weight,
              std::uint32_t site) {
    blocks.push_back({begin, asked, usable, weight, site});
    return *this;
  }

  struct Result {
    HeapTotals totals;
    std::vector<SiteShare> sites;
  };
  Result shares(std::size_t sites = 3, bool older = false) {
    Arena arena;
    Result result;
    result.sites.resize(sites);
    std::uint64_t heap = 0;
    for (const ResidentRun& run : runs) heap += run.end - run.begin;
    std::sort(blocks.begin(), blocks.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
    SampledDivision shares(arena, runs, older);
    shares.know_zeros(zeros);
    REQUIRE(shares.begin(blocks));
    for (const Unit& u : units) shares.add(u);
    REQUIRE(shares.sum_up(heap, evidence, result.sites, &result.totals));
    return result;
  }
};

double sum_of(const HeapTotals& t) {
  return t.live.value + t.rounding.value + t.holes.value + t.headers + t.metadata + t.retained;
}

}  // namespace

TEST_CASE("shares: one block keeps a whole slab") {
  Heap heap;
  heap.resident(kBase, 64 * kKiB).unit(kBase, 16 * kKiB, 100, 100).block(kBase + 200, 90, 100, 1, 1);
  const auto r = heap.shares();
  REQUIRE(r.totals.pinned == 16 * kKiB);
  REQUIRE(r.totals.retained == 48 * kKiB);
  REQUIRE(r.totals.live.value == About(90));
  REQUIRE(r.totals.rounding.value == About(10));
  REQUIRE(r.totals.holes.value == About(16 * kKiB - 100));
  REQUIRE(r.sites[1].resident.value == About(16 * kKiB));
  REQUIRE(r.sites[1].live.value == About(90));
  REQUIRE(r.sites[1].holes.value == About(16 * kKiB - 100));
  REQUIRE(sum_of(r.totals) == About(64 * kKiB));
}

TEST_CASE("shares: free memory that no thread owns is noted, and zeros as far as they may be free") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB);
  heap.unit(kBase, 4 * kKiB, 1000, 100, 96).units.back().ownerless = true;
  heap.unit(kBase + 4 * kKiB, 4 * kKiB, 4 * kKiB, 64);
  heap.unit(kBase + 8 * kKiB, 4 * kKiB, 3096, 3096);
  heap.zeros = {{kBase + 100, kBase + 2100},
                {kBase + 5 * kKiB, kBase + 5 * kKiB + 500},
                {kBase + 9 * kKiB, kBase + 9 * kKiB + 3000}};
  const NotedFree noted = heap.shares().totals.noted;
  REQUIRE(noted.ownerless_holes == 3000);
  REQUIRE(noted.hole_zeros == 2000 + 1000);
  REQUIRE(noted.live_zeros == 500 + 2000);
}

TEST_CASE("shares: blocks older than the samples are nobody's") {
  // 64 blocks of 1 KiB are live, 8 of them sampled with weight 2: the other 48 are older than the books.
  Heap heap;
  heap.resident(kBase, 64 * kKiB);
  for (std::uint64_t i = 0; i < 16; ++i) heap.unit(kBase + i * 4 * kKiB, 4 * kKiB, 4 * kKiB, kKiB);
  for (std::uint64_t i = 0; i < 8; ++i) heap.block(kBase + i * 4 * kKiB, kKiB, kKiB, 2, 1);
  REQUIRE(heap.shares().sites[1].resident.value == About(64 * kKiB));
  const auto r = heap.shares(3, true);
  REQUIRE(r.sites[1].resident.value == About(16 * kKiB));
  REQUIRE(r.sites[1].live.value == About(16 * kKiB));
  REQUIRE(r.totals.unattributed == About(48 * kKiB));
  REQUIRE(r.totals.live_usable == About(64 * kKiB));
  REQUIRE(r.totals.pinned == 64 * kKiB);
}

TEST_CASE("shares: blocks of a slab divide it by their usable bytes") {
  Heap heap;
  heap.resident(kBase, 4 * kKiB).unit(kBase, 4 * kKiB, 1024, 0, 32);
  heap.block(kBase, 768, 768, 1, 1).block(kBase + 2048, 256, 256, 1, 2);
  const auto r = heap.shares();
  REQUIRE(r.sites[1].resident.value == About(3 * kKiB));
  REQUIRE(r.sites[2].resident.value == About(1 * kKiB));
  REQUIRE(r.sites[1].holes.value == About(0.75 * (4 * kKiB - 1024 - 32)));
  REQUIRE(r.totals.headers == 32);
}

TEST_CASE("shares: a large block counts what it has touched") {
  Heap heap;
  heap.resident(kBase, 8 * kKiB).resident(kBase + kMiB, 40 * kKiB);
  heap.unit(kBase, 4 * kMiB, 4 * kMiB, 4 * kMiB).block(kBase, 3 * kMiB, 4 * kMiB, 1, 1);
  const auto r = heap.shares();
  REQUIRE(r.totals.pinned == 48 * kKiB);
  REQUIRE(r.totals.live.value == About(48 * kKiB));
  REQUIRE(r.totals.holes.value == About(0));
  REQUIRE(r.sites[1].resident.value == About(48 * kKiB));
  REQUIRE(r.sites[1].live.value == About(48 * kKiB));
}

TEST_CASE("shares: a block over several units has a share of each") {
  Heap heap;
  heap.resident(kBase, 12 * kKiB);
  heap.unit(kBase, 4 * kKiB, 2048)
      .unit(kBase + 4 * kKiB, 4 * kKiB, 4 * kKiB)
      .unit(kBase + 8 * kKiB, 4 * kKiB, 1024);
  heap.block(kBase + 2048, 7 * kKiB, 7 * kKiB, 1, 1);
  const auto r = heap.shares();
  REQUIRE(r.sites[1].resident.value == About(12 * kKiB));
  REQUIRE(r.sites[1].live.value == About(7 * kKiB));
}

TEST_CASE("shares: units on one page count it once") {
  Heap heap;
  heap.resident(kBase, 8 * kKiB);
  heap.unit(kBase + 512, 1024, 512, 64).unit(kBase + 1536, 4096, 512, 64);
  heap.unit(kBase, 512, 0, 0, 0, UnitKind::kMetadata);
  heap.block(kBase + 512, 64, 64, 1, 1);
  const auto r = heap.shares();
  REQUIRE(r.totals.pinned == 8 * kKiB);
  REQUIRE(r.totals.headers == 512);  // the metadata lies on a page that is pinned anyway
  REQUIRE(r.totals.metadata == 0);
  REQUIRE(r.totals.retained == 0);
  REQUIRE(sum_of(r.totals) == About(8 * kKiB));
}

TEST_CASE("shares: metadata on pages of its own") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB).unit(kBase, 5 * kKiB, 0, 0, 0, UnitKind::kMetadata);
  const auto r = heap.shares();
  REQUIRE(r.totals.metadata == 5 * kKiB);
  REQUIRE(r.totals.retained == 11 * kKiB);
}

TEST_CASE("shares: no sample and no unit") {
  Heap empty;
  REQUIRE(empty.shares(0).totals.pinned == 0);
  Heap heap;
  heap.resident(kBase, 8 * kKiB).unit(kBase, 4 * kKiB, 1000, 100);
  const auto r = heap.shares();
  REQUIRE_FALSE(r.totals.rounding_known);
  REQUIRE(r.totals.live.value == 1000);
  REQUIRE(r.totals.rounding.value == 0);
  REQUIRE(r.totals.unattributed == 4 * kKiB);
  REQUIRE(sum_of(r.totals) == About(8 * kKiB));
}

TEST_CASE("shares: a block that no unit holds is charged its own pages") {
  Heap heap;
  heap.resident(kBase, 64 * kKiB).block(kBase + 4000, 200, 200, 1, 2);
  const auto r = heap.shares();
  REQUIRE(r.totals.uncovered_blocks == 1);
  REQUIRE(r.sites[2].resident.value == 8 * kKiB);
  REQUIRE(r.totals.pinned == 8 * kKiB);
  REQUIRE(sum_of(r.totals) == About(64 * kKiB));
}

TEST_CASE("shares: memory that was not examined is taken to be like the rest") {
  Heap heap;
  heap.resident(kBase, 4 * kMiB);
  for (std::uintptr_t at = kBase; at < kBase + kMiB; at += 8 * kKiB) {
    heap.unit(at, 4 * kKiB, 2 * kKiB);
    heap.block(at, 2 * kKiB, 2 * kKiB, 4, 1);
  }
  heap.block(kBase + 2 * kMiB, 2 * kKiB, 2 * kKiB, 4, 2);
  heap.unit(kBase + kMiB, 3 * kMiB, 0, 0, 0, UnitKind::kNotExamined);
  const auto r = heap.shares();
  REQUIRE(r.totals.examined == About(0.25));
  REQUIRE(r.totals.pinned == About(2 * kMiB));
  REQUIRE(r.totals.retained == About(2 * kMiB));
  REQUIRE(r.totals.live.value == About(kMiB));
  REQUIRE(r.sites[1].resident.value == About(2 * kMiB));
  REQUIRE(r.sites[2].resident.value == 0);
}

TEST_CASE(
    "shares: units of one size that were not examined hold live blocks all, single blocks are all known") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB).resident(kBase + kMiB, 64 * kKiB).resident(kBase + 2 * kMiB, 16 * kKiB);
  heap.resident(kBase + 3 * kMiB, 32 * kKiB);
  for (std::uintptr_t at = kBase; at < kBase + 16 * kKiB; at += 4 * kKiB)
    heap.unit(at, 4 * kKiB, kKiB, 64, 128);
  heap.unit(kBase + kMiB, 64 * kKiB, 64 * kKiB, 64 * kKiB);
  heap.unit(kBase + 2 * kMiB, 16 * kKiB, 0, 64, 0, UnitKind::kNotExamined);
  const auto r = heap.shares();
  REQUIRE(r.totals.units == 6);
  REQUIRE(r.totals.examined == About(112.0 / 128));
  REQUIRE(r.totals.pinned == About(2 * 16 * kKiB + 64 * kKiB));
  REQUIRE(r.totals.headers == About(2 * 4 * 128));
  REQUIRE(r.totals.live_usable == About(2 * 4 * kKiB + 64 * kKiB));
  REQUIRE(r.totals.holes.value == About(2 * 4 * (3 * kKiB - 128)));
  REQUIRE_FALSE(r.totals.holes.has_interval);
  REQUIRE(r.totals.retained == About(32 * kKiB));
}

TEST_CASE("shares: rounding is what live leaves, and so are its bounds") {
  Heap heap;
  heap.resident(kBase, 256 * kKiB);
  for (std::uint64_t i = 0; i < 64; ++i) {
    heap.unit(kBase + i * 4 * kKiB, 4 * kKiB, 3 * kKiB, kKiB, 64);
    heap.block(kBase + i * 4 * kKiB, i % 2 ? 700 : 1000, kKiB, 3, 1);
  }
  const auto r = heap.shares();
  const HeapTotals& t = r.totals;
  REQUIRE(t.live_usable == About(192 * kKiB));
  REQUIRE(t.live.value == About(192.0 * 850));
  REQUIRE(t.rounding.value == About(192.0 * (1024 - 850)));
  REQUIRE(t.live.has_interval);
  REQUIRE(t.rounding.has_interval);
  REQUIRE(t.live.low < t.live.value);
  REQUIRE(t.live.high > t.live.value);
  REQUIRE(t.rounding.low == About(192 * kKiB - t.live.high));
  REQUIRE(t.rounding.high == About(192 * kKiB - t.live.low));
  REQUIRE(t.headers == 64 * 64);
  REQUIRE(t.holes.value == About(64 * (kKiB - 64)));
  REQUIRE(t.holes.has_interval);
  REQUIRE(t.holes.low == t.holes.value);
  REQUIRE(t.uncovered_blocks == 0);
  REQUIRE(t.examined == 1);
}

TEST_CASE("shares: a block that reaches into memory that was not examined does not count at all") {
  Heap heap;
  heap.resident(kBase, 12 * kKiB);
  heap.unit(kBase, 4 * kKiB, 4 * kKiB).unit(kBase + 4 * kKiB, 8 * kKiB, 0, 0, 0, UnitKind::kNotExamined);
  heap.block(kBase, kKiB, kKiB, 1, 1).block(kBase + kKiB, 4 * kKiB, 4 * kKiB, 1, 2);
  const auto r = heap.shares();
  REQUIRE(r.sites[2].resident.value == 0);
  REQUIRE(r.totals.uncovered_blocks == 0);
  REQUIRE(r.totals.units == 2);
  REQUIRE(r.totals.pinned == About(12 * kKiB));  // examined is full, so the rest is taken to be
}

TEST_CASE("shares: contradictions never make a line negative") {
  Heap heap;
  heap.resident(kBase, 4 * kKiB);
  heap.unit(kBase, 4 * kKiB, 100 * kKiB, 100, 100 * kKiB).unit(kBase + kMiB, kMiB, 5000, 50);
  heap.unit(kBase, 4 * kKiB, 3000, 100);  // the same again
  heap.unit(kBase, 0, 0).block(kBase + 10, 900 * kKiB, 900 * kKiB, 3, 1).block(kBase + kMiB, 50, 50, 1000, 1);
  const auto r = heap.shares();
  for (double bytes :
       {r.totals.live.value, r.totals.rounding.value, r.totals.holes.value, r.totals.retained,
        r.totals.headers, r.totals.metadata, r.sites[1].resident.value, r.sites[1].holes.value})
    REQUIRE(bytes >= 0);
}

TEST_CASE("shares: units in any order give the same") {
  std::mt19937_64 random(5);
  Heap heap;
  for (int i = 0; i < 500; ++i) heap.resident(kBase + i * 64 * kKiB, 40 * kKiB);
  for (int i = 0; i < 500; ++i)
    for (int k = 0; k < 4; ++k) {
      const std::uintptr_t at = kBase + i * 64 * kKiB + k * 8 * kKiB;
      heap.unit(at, 8 * kKiB, 1000 + 100 * k, 100);
      heap.block(at + 300, 90, 100, 10, static_cast<std::uint32_t>(random() % 3));
    }
  const auto first = heap.shares();
  std::shuffle(heap.units.begin(), heap.units.end(), random);
  const auto second = heap.shares();
  REQUIRE(first.totals.pinned == second.totals.pinned);
  for (int s = 0; s < 3; ++s) REQUIRE(first.sites[s].resident.value == About(second.sites[s].resident.value));
  REQUIRE(first.sites[0].resident.value + first.sites[1].resident.value + first.sites[2].resident.value ==
          About(first.totals.pinned));
}

namespace {

/// Slabs of 8 size classes: site 1 filled half of them and freed 99 % at random, site 2 keeps the others,
/// site 3 is mixed into both. Samples as record/sampler.hpp draws them.
struct Simulated {
  Heap heap;
  double truth[4] = {}, holes[4] = {};
};

Simulated simulate(std::uint64_t seed, double mean_bytes, int slabs) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform;
  Simulated s;
  s.heap.resident(kBase, static_cast<std::uint64_t>(slabs) * 16 * kKiB);
  for (int i = 0; i < slabs; ++i) {
    const std::uint64_t size = 32 + 64 * (random() % 8), slots = 16 * kKiB / size;
    const bool emptied = random() % 2;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
    for (std::uint64_t k = 0; k < slots; ++k) {
      const std::uint32_t site = random() % 20 == 0 ? 3 : emptied ? 1 : 2;
      if (emptied && uniform(random) < 0.99) continue;
      live.push_back({k, site});
    }
    if (live.empty()) continue;
    const std::uintptr_t at = kBase + i * 16 * kKiB;
    s.heap.unit(at, 16 * kKiB, live.size() * size, size);
    for (const auto& [k, site] : live) {
      s.truth[site] += 16.0 * kKiB / static_cast<double>(live.size());
      const double p = 1 - std::exp(-(static_cast<double>(size) + 256) / mean_bytes);
      if (uniform(random) < p) s.heap.block(at + k * size, size - 7, size, 1 / p, site);
    }
  }
  return s;
}

}  // namespace

TEST_CASE(
    "shares: on a heap of pinned slabs the truth lies in the intervals, and little is charged to others") {
  int inside = 0, intervals = 0;
  double misplaced = 0, by_live = 0;
  constexpr int kRuns = 40;
  for (int run = 0; run < kRuns; ++run) {
    Simulated s = simulate(run + 1, 64.0 * kKiB, 8000);  // 125 MiB, sampled as 1 GiB is at 512 KiB
    const auto r = s.heap.shares(4);
    double live[4] = {}, all_live = 0, wrong = 0, wrong_by_live = 0;
    for (const SampledBlock& b : s.heap.blocks) {
      live[b.site] += b.weight * static_cast<double>(b.asked_bytes);
      all_live += b.weight * static_cast<double>(b.asked_bytes);
    }
    for (int site = 1; site < 4; ++site) {
      const Estimate& e = r.sites[site].resident;
      wrong += std::abs(e.value - s.truth[site]) / 2;
      wrong_by_live += std::abs(live[site] / all_live * r.totals.pinned - s.truth[site]) / 2;
      if (!e.has_interval) continue;
      ++intervals;
      inside += e.low <= s.truth[site] && s.truth[site] <= e.high;
    }
    misplaced += wrong / r.totals.pinned / kRuns;
    by_live += wrong_by_live / r.totals.pinned / kRuns;
  }
  INFO(inside << " of " << intervals << " intervals, " << 100 * misplaced << " % misplaced, " << 100 * by_live
              << " % by live bytes");
  REQUIRE(intervals > 80);
  REQUIRE(inside >= 0.93 * intervals);
  REQUIRE(misplaced < 0.04);
  REQUIRE(by_live > 0.2);
}

TEST_CASE("shares: two million units", "[.cost]") {
  Heap heap;
  constexpr std::uint64_t kUnits = 2'000'000;
  for (std::uint64_t i = 0; i < kUnits; i += 512) heap.resident(kBase + i * 8 * kKiB, 400 * 8 * kKiB);
  for (std::uint64_t i = 0; i < kUnits; ++i) heap.unit(kBase + i * 8 * kKiB, 8 * kKiB, 64 + i % 4000, 64);
  for (std::uint64_t i = 0; i < 16'000; ++i)
    heap.block(kBase + i * 125 * 8 * kKiB, 60, 64, 1000, static_cast<std::uint32_t>(i % 3));
  const auto began = std::chrono::steady_clock::now();
  heap.shares();
  const auto took = std::chrono::steady_clock::now() - began;
  WARN(std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
  REQUIRE(took < std::chrono::milliseconds(1000));
}
