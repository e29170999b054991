// SPDX-License-Identifier: Apache-2.0
// What sites had live when most was live: against a copy at every peak, by samples and by exact mode's levels.
#include "record/peak.hpp"

#include <map>
#include <random>
#include <vector>

#include "record/exact/counts.hpp"
#include "record/record.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::record;

namespace {

struct Sites {
  PeakWatch watch;
  std::vector<std::int64_t> live;
  std::vector<AtPeak> kept;
  std::int64_t all = 0;
  std::vector<std::int64_t> copy;  // made at every new peak

  explicit Sites(std::size_t count) : live(count), kept(count), copy(count) {}
  void change(std::size_t site, std::int64_t bytes) {
    kept[site].keep(watch.number(), live[site]);
    live[site] += bytes;
    all += bytes;
    if (!watch.is_new(all)) return;
    watch.raise(all);
    copy = live;
  }
  bool is_right() const {
    for (std::size_t i = 0; i < live.size(); ++i)
      if (kept[i].read(watch.number(), live[i]) != static_cast<std::uint64_t>(copy[i])) return false;
    return true;
  }
};

[[gnu::noinline]] void allocate(std::uintptr_t n, std::size_t bytes) {
  on_alloc(reinterpret_cast<const void*>(0x60'0000'0000 + n * 4096), bytes, bytes, MALLARD_CALLER());
}
void release(std::uintptr_t n) { on_free(reinterpret_cast<const void*>(0x60'0000'0000 + n * 4096)); }

}  // namespace

TEST_CASE("peak: sites keep what a copy at each peak would have") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    Sites sites(40);
    for (int i = 0; i < 20'000; ++i) {
      const std::size_t site = random() % sites.live.size();
      const bool grows = random() % 100 < (i / 4'000 % 2 ? 40 : 60);
      if (grows) sites.change(site, 1 + static_cast<std::int64_t>(random() % 100'000));
      else sites.change(site, -static_cast<std::int64_t>(random() % (sites.live[site] + 1)));
      if (i % 50 == 0) REQUIRE(sites.is_right());
    }
    REQUIRE(sites.is_right());
    REQUIRE(sites.watch.read().bytes > 1'000'000);
  }
}

TEST_CASE("peak: none yet, and how many there can be") {
  PeakWatch watch;
  AtPeak site;
  REQUIRE(watch.read().bytes == 0);
  REQUIRE(site.read(watch.number(), 500) == 0);
  for (std::int64_t live = 1; live < std::int64_t{1} << 47; live += live / 10'000 + 1) watch.raise(live);
  REQUIRE(watch.number() > 1'000);
  REQUIRE(watch.number() < 3'000);
  REQUIRE(static_cast<double>(watch.read().bytes) > 0.98 * 0x1p47);
  const std::uint64_t before = watch.number();
  watch.raise(1'000);
  REQUIRE(watch.number() == before);
}

TEST_CASE("peak: samples that came and went") {
  REQUIRE(resume(4096));
  constexpr std::size_t kBytes = 1 << 20;  // so large that each is a sample, and stands for itself
  for (std::uintptr_t n = 0; n < 64; ++n) allocate(n, kBytes);
  for (std::uintptr_t n = 0; n < 60; ++n) release(n);
  for (std::uintptr_t n = 100; n < 110; ++n) allocate(n, kBytes);
  const Peak peak = sampled_peak();
  REQUIRE(peak.bytes == 64 * kBytes);
  REQUIRE(peak.at_ns > 0);
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < site_count(); ++i) sum += sampled_at_peak(site(SiteId{i}));
  REQUIRE(sum == 64 * kBytes);
  REQUIRE(resume(4096));
  REQUIRE(sampled_peak().bytes == 0);
}
