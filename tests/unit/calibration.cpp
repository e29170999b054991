// SPDX-License-Identifier: Apache-2.0
// From pieces of samples to sites, in numbers that can be worked out by hand; and the pages under units.
#include <vector>

#include "report/divide/calibration.hpp"
#include "report/divide/unit_pages.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr double kAlmost = 1e-9;
Approx about(double value) { return Approx(value).epsilon(kAlmost).margin(kAlmost); }

struct Sampled {
  std::vector<Piece> pieces;
  std::vector<Stratum> strata;
  std::vector<SiteShare> sites = std::vector<SiteShare>(4);
  CalibratedTotals totals;

  /// Stratum 0 is for blocks that no unit held, as in SampledDivision.
  Sampled() { strata.push_back({}); }
  Sampled& stratum(double resident, double live, std::uint8_t group = 1, std::uint64_t size_class = 16) {
    strata.push_back({strata.size(), size_class, group, true, true, resident, live, 0});
    return *this;
  }
  /// `count` pieces of weight 2, in the last stratum: 20 resident bytes of which 16 can be used, 12 were
  /// asked for and 4 are holes.
  Sampled& met(int count, std::uint32_t site, std::uint16_t stratum = UINT16_MAX) {
    if (stratum == UINT16_MAX) stratum = static_cast<std::uint16_t>(strata.size() - 1);
    for (int i = 0; i < count; ++i) pieces.push_back({0, stratum, site, 2, 20, 16, 16, 12, 4});
    return *this;
  }
  Sampled& run(bool older = false) {
    Arena arena;
    REQUIRE(calibrate(arena, pieces, strata, older ? Beyond::kOlder : Beyond::kChance, 100, sites, &totals));
    return *this;
  }
};

}  // namespace

TEST_CASE("calibration: samples say how a known total is divided") {
  const Sampled s = Sampled().stratum(1000, 800).met(6, 1).met(4, 2).run();
  // 10 pieces stand for 400 resident bytes of 1000: each counts 2.5 times as much.
  CHECK(s.sites[1].resident.value == about(600));
  CHECK(s.sites[2].resident.value == about(400));
  CHECK(s.sites[1].live.value == about(360));
  CHECK(s.sites[1].holes.value == about(120));
  CHECK(s.sites[2].live.value == about(240));
  CHECK(s.sites[2].holes.value == about(80));
  CHECK(s.sites[3].resident.value == 0);
  CHECK(s.totals.sampled);
  CHECK(s.totals.live.value == about(600));
  CHECK(s.totals.live.variance == about(0));
  CHECK(s.totals.usable == about(800));
  CHECK(s.totals.unattributed == 0);
  CHECK(s.totals.uncounted == 0);
}

TEST_CASE("calibration: the error is that of the division, with one piece supposed unseen") {
  const Sampled s = Sampled().stratum(1000, 800).met(6, 1).met(4, 2).run();
  // 2.5^2 (6 x 800 - 2 x 0.6 x 6 x 800 + 0.6^2 x 10 x 800 x 1.1), and the same with 4 pieces.
  CHECK(s.sites[1].resident.variance == about(13800));
  CHECK(s.sites[2].resident.variance == about(12800));
  // 600^2 is 12 times 30,000, 400^2 only 8 times 20,000: 12 and 8 effective samples.
  CHECK(s.sites[1].resident.has_interval);
  CHECK(s.sites[1].live.has_interval);
  CHECK_FALSE(s.sites[2].resident.has_interval);
  CHECK_FALSE(s.sites[2].holes.has_interval);
  CHECK(s.sites[1].resident.low < 600);
  CHECK(s.sites[1].resident.high > 600);
}

TEST_CASE("calibration: a site may have a piece that was not met in another stratum of its size class") {
  const Sampled s = Sampled().stratum(400, 320, 1).met(10, 1).stratum(1000, 800, 2).met(10, 2).run();
  CHECK(s.sites[1].resident.value == about(400));
  CHECK(s.sites[2].resident.value == about(1000));
  // Alone in its stratum: 800 for the piece supposed unseen. In the other one 0.2 pieces of 800 each.
  CHECK(s.sites[1].resident.variance == about(800 + 0.2 * 2.5 * 2.5 * 800));
  CHECK(s.sites[2].resident.variance == about(2.5 * 2.5 * 800 + 0.2 * 800));
  const Sampled apart =
      Sampled().stratum(400, 320, 1, 16).met(10, 1).stratum(1000, 800, 2, 32).met(10, 2).run();
  CHECK(apart.sites[1].resident.variance == about(800));
}

TEST_CASE("calibration: of too few pieces no more is made than they stand for") {
  for (const int count : {1, 3, 4}) {
    const Sampled s = Sampled().stratum(1000, 800).met(count, 1).run();
    CHECK(s.sites[1].resident.value == about(40 * count));
    CHECK(s.totals.unattributed == about(1000 - 40 * count));
    CHECK_FALSE(s.sites[1].resident.has_interval);
  }
  CHECK(Sampled().stratum(1000, 800).met(5, 1).run().sites[1].resident.value == about(1000));
  const Sampled less = Sampled().stratum(60, 48).met(3, 1).run();
  CHECK(less.sites[1].resident.value == about(60));
  CHECK(less.totals.unattributed == 0);
}

TEST_CASE(
    "calibration: strata with few pieces are pooled with neighbours, small blocks apart from large ones") {
  const auto shares = [](std::uint8_t first, std::uint8_t second) {
    return Sampled().stratum(100, 80, first).met(3, 1).stratum(200, 160, second).met(3, 2).run();
  };
  const Sampled same = shares(3, 3), near = shares(3, 9), apart = shares(3, 20);
  for (const Sampled* s : {&same, &near}) {
    CHECK(s->sites[1].resident.value == about(150));  // 300 bytes by 6 pieces
    CHECK(s->sites[2].resident.value == about(150));
    CHECK(s->totals.unattributed == 0);
  }
  CHECK(apart.sites[1].resident.value == about(120));  // the rest: 300 bytes known, 240 stood for
  CHECK(apart.sites[2].resident.value == about(120));
  CHECK(apart.totals.unattributed == about(60));
  // Too few at the end join those before them that are enough together.
  const Sampled after = Sampled()
                            .stratum(200, 160, 2)
                            .met(3, 1)
                            .stratum(200, 160, 2)
                            .met(3, 1)
                            .stratum(320, 256, 15)
                            .met(3, 2)
                            .run();
  CHECK(after.sites[1].resident.value == about(480));  // 720 bytes by 9 pieces
  CHECK(after.sites[2].resident.value == about(240));
  CHECK(after.totals.unattributed == 0);
  // What is enough by itself stays apart.
  const Sampled enough = Sampled().stratum(100, 80, 2).met(5, 1).stratum(200, 160, 15).met(3, 2).run();
  CHECK(enough.sites[1].resident.value == about(100));
  CHECK(enough.sites[2].resident.value == about(120));
  CHECK(enough.totals.unattributed == about(80));
}

TEST_CASE("calibration: with blocks older than the samples no factor raises") {
  const Sampled s = Sampled().stratum(1000, 800).met(10, 1).run(true);
  CHECK(s.sites[1].resident.value == about(400));
  CHECK(s.totals.unattributed == about(600));
  // 320 of 800 are the samples'; of the rest it is not known how much of it was asked for.
  CHECK(s.totals.live.value == about(240 + 480));
  CHECK(s.totals.usable == about(320 + 480));
  CHECK(s.totals.older == about(480));
  const Sampled fewer = Sampled().stratum(200, 160).met(10, 1).run(true);
  CHECK(fewer.sites[1].resident.value == about(200));
}

TEST_CASE("calibration: what was allocated past mallard is nobody's, and other strata are as always") {
  Arena arena;
  Sampled s;
  // The samples stand for 320 of 80,000 live bytes, and for 320 of 400.
  s.stratum(100'000, 80'000).met(10, 1).stratum(500, 400, 9, 32).met(10, 2);
  REQUIRE(calibrate(arena, s.pieces, s.strata, Beyond::kPastMallard, 100, s.sites, &s.totals));
  CHECK(s.sites[1].resident.value == about(400));
  CHECK(s.sites[2].resident.value == about(500));
  CHECK(s.totals.past.value == about(80'000 - 320));
  CHECK(s.totals.past.low < s.totals.past.value);
  CHECK(s.totals.past.high > s.totals.past.value);
  CHECK(s.totals.usable == about(320 + 400));
  CHECK(s.totals.live.value == about(240 + 300));
  CHECK(s.totals.unattributed == about(100'000 - 400));
}

TEST_CASE("calibration: beyond the error, or within it") {
  const Estimate recorded{100e6, 25e12, false, 0, 0};  // one standard error is 5 MB
  const BeyondEvidence nothing{false, 0.5e6, 0, 0}, bound{true, 0.5e6, 0, 0};
  CHECK_FALSE(is_past_mallard(100e6, recorded, nothing));
  CHECK_FALSE(is_past_mallard(118e6, recorded, bound));
  CHECK(is_past_mallard(122e6, recorded, bound));
  CHECK_FALSE(is_past_mallard(122e6, recorded, nothing));
  CHECK(is_past_mallard(137e6, recorded, nothing));
  CHECK_FALSE(is_past_mallard(137e6, recorded, {false, 0.5e6, 10e6, 0}));  // in thread caches
  CHECK_FALSE(is_past_mallard(137e6, recorded, {false, 0.5e6, 0, 10e6}));  // allocated since
}

TEST_CASE("calibration: blocks that the census did not meet count as the samples say") {
  Sampled s;
  s.met(3, 1, 0).run();
  CHECK(s.sites[1].resident.value == about(120));
  CHECK(s.sites[1].resident.variance == about(3 * 800));
  CHECK(s.totals.uncounted == about(120));
  CHECK(s.totals.uncounted_variance == about(3 * 800));
  CHECK(s.totals.live.value == about(72));
  CHECK(s.totals.live.variance == about(3 * 2 * 144));
  CHECK(s.totals.usable == about(96));
  CHECK(s.totals.unattributed == 0);
}

TEST_CASE("calibration: a stratum without a piece is live as the others are") {
  const Sampled s = Sampled().stratum(1000, 800).met(10, 1).stratum(500, 400, 9).run();
  CHECK(s.totals.usable == about(1200));
  CHECK(s.totals.live.value == about(900));
  CHECK(s.totals.unattributed == about(500));
  const Sampled none = Sampled().stratum(500, 400).run();
  CHECK_FALSE(none.totals.sampled);
  CHECK(none.totals.live.value == about(400));
  CHECK(none.totals.usable == about(400));
}

TEST_CASE("calibration: a site made after the rows were read is left out") {
  const Sampled s = Sampled().stratum(1000, 800).met(5, 1).met(5, 4).run();
  CHECK(s.sites[1].resident.value == about(500));
}

namespace {

struct Pages {
  std::vector<ResidentRun> runs{{0x10000, 0x14000, 0, false, false},
                                {0x20000, 0x22000, 0x4000, false, false}};
  Arena arena;
  UnitPages pages{runs};
  Pages() { REQUIRE(pages.begin(arena)); }
};

}  // namespace

TEST_CASE("unit pages: what of a range is in memory, asked in any order") {
  Pages p;
  for (int i = 0; i < 2; ++i) {
    CHECK(p.pages.resident(0x10800, 0x21000) == 0x4800);
    CHECK(p.pages.resident(0x20000, 0x22000) == 0x2000);
    CHECK(p.pages.resident(0x21fff, 0x30000) == 1);
    CHECK(p.pages.resident(0x22000, 0x30000) == 0);
    CHECK(p.pages.resident(0x14000, 0x20000) == 0);
    CHECK(p.pages.resident(0x13fff, 0x20001) == 2);
    CHECK(p.pages.resident(0, 0x10001) == 1);
    CHECK(p.pages.resident(0x11000, 0x11000) == 0);
    CHECK(p.pages.resident(0x12000, 0x11000) == 0);
  }
}

TEST_CASE("unit pages: a page counts for the first unit on it") {
  Pages p;
  CHECK(p.pages.pin(0x10800, 0x11800) == 0x2000);
  CHECK(p.pages.pin(0x10800, 0x11800) == 0);
  CHECK(p.pages.pin(0x11800, 0x13000) == 0x1000);
  CHECK(p.pages.pin(0x13100, 0x13200) == 0x1000);
  CHECK(p.pages.pin(0x13200, 0x13300) == 0);
  CHECK(p.pages.pin(0x14800, 0x20800) == 0x1000);
  CHECK(p.pages.pin(0x15000, 0x15100) == 0);
}

TEST_CASE("unit pages: metadata on pages of blocks is pinned with them") {
  Pages p;
  p.pages.note_metadata(0x10f00, 0x12100);
  CHECK(p.pages.metadata() == 0x1200);
  CHECK(p.pages.pinned_metadata() == 0);
  CHECK(p.pages.pin(0x10000, 0x10080) == 0x1000);
  CHECK(p.pages.pinned_metadata() == 0x100);
  CHECK(p.pages.pin(0x12200, 0x12300) == 0x1000);
  CHECK(p.pages.pinned_metadata() == 0x200);
  p.pages.note_metadata(0x12100, 0x12180);
  CHECK(p.pages.pinned_metadata() == 0x280);
  p.pages.note_metadata(0x10000, 0x10f80);  // more than the page holds, in sum
  CHECK(p.pages.pinned_metadata() == 0x1180);
  p.pages.note_metadata(0x15000, 0x15800);  // not in memory
  CHECK(p.pages.metadata() == 0x1200 + 0x80 + 0xf80);
}
