// SPDX-License-Identifier: Apache-2.0
// Exact shares of resident memory on hand-made heaps, and on random ones against brute force.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "report/divide/exact_division.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;
using heaps::Booked;
using heaps::Unit;
using heaps::UnitKind;

namespace {

constexpr std::uintptr_t kBase = 0x10000000;
constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

bool about(double a, double b) { return std::abs(a - b) <= 1e-3 + 1e-9 * std::abs(b); }

std::vector<record::ExactLive> g_books;  // ascending

void for_each(std::uintptr_t begin, std::uintptr_t end, LiveBlocks::Visit visit, void* opaque) {
  auto at = std::lower_bound(g_books.begin(), g_books.end(), begin,
                             [](const record::ExactLive& b, std::uintptr_t a) { return b.begin < a; });
  for (; at != g_books.end() && at->begin < end; ++at) visit(*at, opaque);
}

struct Heap {
  std::vector<ResidentRun> runs;
  std::vector<Unit> units;
  Beyond beyond = Beyond::kChance;
  BlockSize size{};

  Heap() { g_books.clear(); }
  Heap& resident(std::uintptr_t begin, std::uint64_t bytes) {
    const std::uint64_t before =
        runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
    runs.push_back({begin, begin + bytes, before, false, false});
    return *this;
  }
  Heap& unit(std::uintptr_t begin, std::uint64_t bytes, std::uint64_t live, std::uint64_t block,
             UnitKind kind = UnitKind::kBlocks) {
    units.push_back({begin, begin + bytes, kind, block, live, 0});
    return *this;
  }
  Heap& block(std::uintptr_t begin, std::uint64_t asked, std::uint32_t site) {
    g_books.push_back({begin, asked, record::SiteId{site}});
    return *this;
  }
  std::uint64_t resident_bytes() const {
    return runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
  }

  struct Result {
    HeapTotals totals;
    std::vector<ExactShare> sites;
    ExactShare before;
    Pins pins;
    std::vector<PinSet> sets;
    std::uint64_t met, raced;
  };
  template <typename Fill>
  Result shares_by(Fill fill, std::uint64_t cached = 0) {
    Arena arena;
    Result result;
    result.sites.resize(4);
    ExactDivision shares(arena, runs, {for_each, beyond}, size);
    REQUIRE(shares.begin(result.sites));
    fill(shares);
    REQUIRE(shares.sum_up(resident_bytes(), cached, &result.totals));
    REQUIRE(shares.sum_up_pins(&result.pins));
    result.sets.assign(result.pins.sets.begin(), result.pins.sets.end());
    result.before = shares.unbooked();
    result.met = shares.met_blocks();
    result.raced = shares.raced_units();
    const HeapTotals& t = result.totals;
    REQUIRE(about(t.live.value + t.rounding.value + t.past.value + t.holes.value + t.headers + t.metadata + t.retained,
                  static_cast<double>(resident_bytes())));
    for (double x : {t.live.value, t.rounding.value, t.holes.value, t.headers, t.metadata, t.retained})
      REQUIRE(x >= 0);
    return result;
  }
  Result shares(std::uint64_t cached = 0) {
    return shares_by(
        [this](ExactDivision& s) {
          for (const Unit& u : units) s.add(u);
        },
        cached);
  }
  Result by_pages() {
    return shares_by([this](ExactDivision& s) {
      std::vector<AddressRange> all;
      for (const ResidentRun& r : runs) all.push_back({r.begin, r.end});
      s.divide_by_pages(all);
    });
  }
};

}  // namespace

TEST_CASE("exact shares: one block keeps a whole slab") {
  Heap heap;
  heap.resident(kBase, 64 * kKiB).unit(kBase, 16 * kKiB, 100, 100).block(kBase + 200, 90, 1);
  const auto r = heap.shares();
  REQUIRE(r.totals.pinned == 16 * kKiB);
  REQUIRE(r.totals.retained == 48 * kKiB);
  REQUIRE(about(r.totals.live.value, 90));
  REQUIRE(about(r.totals.rounding.value, 10));
  REQUIRE(about(r.sites[1].resident, 16 * kKiB));
  REQUIRE(about(r.sites[1].holes, 16 * kKiB - 100));
  REQUIRE(r.met == 1);
  REQUIRE(r.totals.live.has_interval);
  REQUIRE(r.totals.live.low == r.totals.live.high);
}

TEST_CASE("exact shares: what goes back if a site leaves alone is no share") {
  Heap heap;
  heap.resident(kBase, 64 * kKiB);
  for (int i = 0; i < 4; ++i) heap.unit(kBase + i * 16 * kKiB, 16 * kKiB, i == 3 ? 100 : 200, 100);
  for (int i = 0; i < 2; ++i)  // two slabs of both, one of the first alone, one of the second
    heap.block(kBase + i * 16 * kKiB, 100, 1).block(kBase + i * 16 * kKiB + 200, 100, 2);
  heap.block(kBase + 32 * kKiB, 100, 1).block(kBase + 32 * kKiB + 100, 100, 1).block(kBase + 48 * kKiB, 100, 2);
  const auto r = heap.shares();
  REQUIRE(about(r.sites[1].resident, 32 * kKiB));
  REQUIRE(about(r.sites[1].alone, 16 * kKiB));
  REQUIRE(about(r.sites[1].alone_holes, 16 * kKiB - 200));
  REQUIRE(about(r.sites[2].alone, 16 * kKiB));
  REQUIRE(about(r.sites[2].alone_holes, 16 * kKiB - 100));
  REQUIRE(about(r.pins.joint, 32 * kKiB));
  REQUIRE(about(r.pins.joint_holes, 32 * kKiB - 400));
  REQUIRE(r.sets.size() == 1);
  REQUIRE(about(r.sets[0].together, 64 * kKiB));
}

TEST_CASE("exact shares: with an older block on it, a unit is nobody's alone") {
  Heap heap;
  heap.beyond = Beyond::kOlder;
  heap.resident(kBase, 16 * kKiB).unit(kBase, 16 * kKiB, 200, 100).block(kBase, 100, 1);
  const auto r = heap.shares();
  REQUIRE(r.sites[1].alone == 0);
  REQUIRE(about(r.pins.others, 16 * kKiB));
}

TEST_CASE("exact shares: a page at the end of one site's block and the beginning of another's is of both") {
  Heap heap;
  heap.size = glibc_block_size();
  heap.resident(kBase, 12 * kKiB).block(kBase + 16, 6000, 1).block(kBase + 6032, 5000, 2);
  const auto r = heap.by_pages();
  REQUIRE(about(r.sites[1].alone, 4 * kKiB));
  REQUIRE(about(r.sites[2].alone, 4 * kKiB));
  REQUIRE(about(r.pins.joint, 4 * kKiB));
}

TEST_CASE("exact shares: what the allocator holds beyond complete books is free, in a cache") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB).unit(kBase, 16 * kKiB, 1000, 100);
  heap.block(kBase, 100, 1).block(kBase + 100, 50, 2);
  const auto r = heap.shares(800);
  REQUIRE(about(r.totals.live.value, 150));
  REQUIRE(about(r.totals.holes.value, 16 * kKiB - 200));
  REQUIRE(about(r.sites[1].resident, 8 * kKiB));
  REQUIRE(r.before.resident == 0);
}

TEST_CASE("exact shares: what the allocator holds beyond books that began later is from before") {
  Heap heap;
  heap.beyond = Beyond::kOlder;
  heap.resident(kBase, 16 * kKiB).unit(kBase, 16 * kKiB, 1000, 100);
  heap.block(kBase, 100, 1).block(kBase + 100, 50, 2);
  auto r = heap.shares();
  REQUIRE(about(r.before.live, 800));
  REQUIRE(about(r.before.resident, 0.8 * 16 * kKiB));
  REQUIRE(about(r.sites[1].resident, 0.1 * 16 * kKiB));
  REQUIRE(about(r.totals.live.value, 950));
  r = heap.shares(200);  // of it, so much lies free in thread caches
  REQUIRE(about(r.before.live, 600));
  REQUIRE(about(r.before.resident, 0.6 * 16 * kKiB));
  REQUIRE(about(r.totals.live.value, 750));
}

TEST_CASE("exact shares: what the allocator holds beyond the books was allocated past mallard, where that is known") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB).unit(kBase, 16 * kKiB, 1000, 100);
  heap.block(kBase, 100, 1).block(kBase + 100, 50, 2);
  heap.beyond = Beyond::kPastMallard;
  const auto r = heap.shares(200);  // of it, so much lies free in thread caches
  REQUIRE(about(r.totals.past.value, 600));
  REQUIRE(about(r.totals.live.value, 150));
  REQUIRE(about(r.totals.rounding.value, 50));
  REQUIRE(about(r.totals.counted_live, 800));
  REQUIRE(about(r.totals.recorded_live.value, 200));
  REQUIRE(about(r.sites[1].resident, 0.1 * 16 * kKiB));
}

TEST_CASE("exact shares: fewer blocks than the books say is a race, not a negative line") {
  Heap heap;
  heap.resident(kBase, 4 * kKiB).unit(kBase, 4 * kKiB, 100, 100).unit(kBase, 4 * kKiB, 100, 100);
  for (int i = 0; i < 45; ++i) heap.block(kBase + i * 100, 100, 1);  // the last ones reach beyond the unit
  const auto r = heap.shares();
  REQUIRE(r.raced == 2);
  REQUIRE(r.totals.pinned == 4 * kKiB);
}

TEST_CASE("exact shares: a large block counts what it has touched") {
  Heap heap;
  heap.resident(kBase, 8 * kKiB).resident(kBase + kMiB, 40 * kKiB);
  heap.unit(kBase, 4 * kMiB, 4 * kMiB, 4 * kMiB).block(kBase, 3 * kMiB, 1);
  const auto r = heap.shares();
  REQUIRE(r.totals.live.value == 48 * kKiB);
  REQUIRE(r.sites[1].resident == 48 * kKiB);
  REQUIRE(r.totals.holes.value == 0);
}

TEST_CASE("exact shares: block by block, as glibc is asked") {
  Heap heap;
  heap.resident(kBase, 16 * kKiB);
  heap.block(kBase + 16, 2000, 1).block(kBase + 3000, 6000, 2);
  const auto fill = [](ExactDivision& s) {
    REQUIRE(s.look_up(kBase + 16) == Booked::kLive);
    s.add_block(kBase + 16, 2008);
    REQUIRE(s.look_up(kBase + 2500) == Booked::kFree);
    REQUIRE(s.look_up(kBase + 3000) == Booked::kLive);
    s.add_block(kBase + 3000, 6008);
    s.add({kBase, kBase + 4096, UnitKind::kBlocks, 0, 2008 + 1096, 16});
    s.add({kBase + 4096, kBase + 8192, UnitKind::kBlocks, 0, 4096, 0});
    s.add({kBase + 8192, kBase + 12288, UnitKind::kBlocks, 0, 816, 0});
  };
  const auto r = heap.shares_by(fill);
  REQUIRE(about(r.sites[1].resident, 4096.0 * 2008 / 3104));
  REQUIRE(about(r.sites[2].resident, 4096.0 * 1096 / 3104 + 8192));
  REQUIRE(about(r.totals.live.value, 8000));
  REQUIRE(about(r.totals.rounding.value, 16));
  REQUIRE(r.totals.headers == 16);
  REQUIRE(r.totals.retained == 4096);
  REQUIRE(r.met == 2);
}

TEST_CASE("exact shares: block by block, blocks from before have a share of their own") {
  Heap heap;
  heap.beyond = Beyond::kOlder;
  heap.resident(kBase, 4 * kKiB).block(kBase + 16, 1000, 1);
  const auto r = heap.shares_by([](ExactDivision& s) {
    REQUIRE(s.look_up(kBase + 16) == Booked::kLive);
    s.add_block(kBase + 16, 1000);
    REQUIRE(s.look_up(kBase + 2016) == Booked::kUnknown);
    s.add_block(kBase + 2016, 1000);
    s.add({kBase, kBase + 4096, UnitKind::kBlocks, 0, 2000, 16});
  });
  REQUIRE(about(r.sites[1].resident, 2 * kKiB));
  REQUIRE(about(r.before.resident, 2 * kKiB));
  REQUIRE(about(r.before.live, 1000));
  REQUIRE(r.met == 1);
}

TEST_CASE("exact shares: memory that the census left out is read from the books") {
  Heap heap;
  heap.size = glibc_block_size();
  heap.resident(kBase, 64 * kKiB).block(kBase + 16, 100, 1).block(kBase + 40 * kKiB, 100, 2);
  heap.unit(kBase, 32 * kKiB, 0, 0, UnitKind::kNotExamined)
      .unit(kBase + 32 * kKiB, 16 * kKiB, 0, 112, UnitKind::kNotExamined);
  const auto r = heap.shares();
  REQUIRE(r.totals.examined == 1);
  REQUIRE(r.totals.pinned == 20 * kKiB);
  REQUIRE(r.sites[1].resident == 4 * kKiB);
  REQUIRE(r.sites[2].resident == 16 * kKiB);
  REQUIRE(r.totals.headers == 8);
  heap.beyond = Beyond::kOlder;
  REQUIRE(about(heap.shares().totals.examined, 0.25));
}

TEST_CASE("exact shares: nothing at all") {
  Heap heap;
  const auto r = heap.shares();
  REQUIRE(r.totals.pinned == 0);
  REQUIRE(r.totals.holes.has_interval);
}

namespace {

/// Brute force: page by page, block by block.
struct Truth {
  double resident[4] = {}, holes[4] = {}, pinned = 0, live = 0;
};

Truth brute_force(const Heap& heap, std::uint64_t (*usable)(std::uint64_t)) {
  Truth truth;
  for (const ResidentRun& run : heap.runs)
    for (std::uintptr_t page = run.begin; page < run.end; page += kPageBytes) {
      double on_page[4] = {}, all = 0;
      for (const record::ExactLive& b : g_books) {
        const std::uintptr_t end = b.begin + usable(b.asked_bytes);
        if (end <= page || b.begin >= page + kPageBytes) continue;
        const double bytes = static_cast<double>(std::min(end, page + kPageBytes) - std::max(b.begin, page));
        on_page[static_cast<int>(b.site)] += bytes;
        all += bytes;
      }
      if (all == 0) continue;
      truth.pinned += kPageBytes;
      truth.live += all;
      for (int s = 0; s < 4; ++s) {
        truth.resident[s] += kPageBytes * on_page[s] / all;
        truth.holes[s] += (kPageBytes - all) * on_page[s] / all;
      }
    }
  return truth;
}

}  // namespace

TEST_CASE("exact shares: by pages, as brute force has it") {
  for (int seed = 0; seed < 50; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(static_cast<std::uint64_t>(seed));
    Heap heap;
    constexpr std::uint64_t kPages = 200;
    for (std::uint64_t first = 0; first < kPages; first += 50)
      heap.resident(kBase + first * kPageBytes, 40 * kPageBytes);
    for (std::uintptr_t at = kBase; at < kBase + kPages * kPageBytes;) {
      const std::uint64_t kind = random() % 10;
      const std::uint64_t size = kind == 0  ? 1 + random() % 40000
                                 : kind < 3 ? 1 + random() % 5000
                                            : 1 + random() % 300;
      if (random() % 3 == 0 && at + size < kBase + kPages * kPageBytes)
        heap.block(at, size, static_cast<std::uint32_t>(random() % 4));
      at = align_up(at + size, 16) + (random() % 4 == 0 ? random() % 64 * 256 : 0);
    }
    // The heap is all of it; 10 pages of every 50 are not in memory.
    const auto r = heap.shares_by([](ExactDivision& s) {
      const AddressRange all[] = {{kBase, kBase + kPages * kPageBytes}};
      s.divide_by_pages(all);
    });
    const Truth truth = brute_force(heap, [](std::uint64_t asked) { return asked; });
    REQUIRE(about(r.totals.pinned, truth.pinned));
    REQUIRE(about(r.totals.live.value, truth.live));
    REQUIRE(r.met == g_books.size());
    for (int s = 0; s < 4; ++s) {
      INFO("site " << s << ": " << r.sites[s].resident << " against " << truth.resident[s]);
      // A block that covers several pages is charged with all of them at once.
      REQUIRE(std::abs(r.sites[s].resident - truth.resident[s]) < 1e-6 * truth.pinned);
      REQUIRE(std::abs(r.sites[s].holes - truth.holes[s]) < 1e-6 * truth.pinned);
    }
  }
}

TEST_CASE("exact shares: by pages, the last block reaches into the next range") {
  Heap heap;
  heap.resident(kBase, 8 * kKiB).resident(kBase + 8 * kKiB, 8 * kKiB);
  heap.block(kBase + 4 * kKiB, 6 * kKiB, 1).block(kBase + 12 * kKiB, 16, 2);
  const auto r = heap.by_pages();
  REQUIRE(r.sites[1].resident == 8 * kKiB);
  REQUIRE(r.sites[2].resident == 4 * kKiB);
  REQUIRE(r.totals.retained == 4 * kKiB);
}

TEST_CASE("exact shares: ten million blocks", "[.cost]") {
  Heap heap;
  constexpr std::uint64_t kBlocks = 10'000'000;
  heap.resident(kBase, kBlocks * 64);
  g_books.reserve(kBlocks);
  for (std::uint64_t i = 0; i < kBlocks; ++i)
    heap.block(kBase + i * 64, 50, static_cast<std::uint32_t>(i % 4));
  for (std::uint64_t i = 0; i < kBlocks / 256; ++i)
    heap.unit(kBase + i * 16 * kKiB, 16 * kKiB, 16 * kKiB, 64);
  for (int way = 0; way < 2; ++way) {
    const auto began = std::chrono::steady_clock::now();
    way == 0 ? heap.shares() : heap.by_pages();
    const auto took = std::chrono::steady_clock::now() - began;
    WARN((way == 0 ? "by units: " : "by pages: ")
         << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
    REQUIRE(took < std::chrono::milliseconds(1500));
  }
}
