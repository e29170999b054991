// SPDX-License-Identifier: Apache-2.0
// Who pins what: sums by the set of sites, against brute force and beyond the table's bound.
#include <map>
#include <random>
#include <set>
#include <vector>

#include "report/divide/pin_sets.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

UnitSites units_of(const std::set<std::uint32_t>& sites) {
  UnitSites by;
  for (const std::uint32_t site : sites) by.add(site);
  return by;
}

}  // namespace

TEST_CASE("unit sites: each once, ascending, in whatever order blocks come") {
  UnitSites by;
  for (const std::uint32_t site : {7u, 7u, 3u, 9u, 3u, 7u, 1u}) by.add(site);
  REQUIRE(std::vector<std::uint32_t>(by.all().begin(), by.all().end()) == std::vector<std::uint32_t>{1, 3, 7, 9});
  REQUIRE_FALSE(by.is_crowded());
  for (const std::uint32_t site : {20u, 21u}) by.add(site);
  REQUIRE_FALSE(by.is_crowded());
  by.add(21);
  REQUIRE_FALSE(by.is_crowded());
  by.add(22);
  REQUIRE(by.is_crowded());
}

TEST_CASE("pin sets: alone, together, and what goes back if all of a set leave") {
  Arena arena;
  PinSets sets(arena);
  std::vector<ExactShare> shares(6);
  sets.add(units_of({1}), 100, 60, shares);
  sets.add(units_of({1}), 10, 5, shares);
  sets.add(units_of({2}), 7, 1, shares);
  sets.add(units_of({1, 2}), 1000, 900, shares);
  sets.add(units_of({2, 1}), 24, 20, shares);
  sets.add(units_of({1, 2, 3}), 5000, 4000, shares);
  sets.add(units_of({0, 1, 2, 3, 4, 5}), 3, 3, shares);
  UnitSites crowded = units_of({0, 1, 2, 3, 4, 5});
  crowded.add(6);
  sets.add(crowded, 40, 30, shares);
  UnitSites unknown = units_of({1});
  unknown.add_unknown();
  sets.add(unknown, 77, 70, shares);
  sets.add({}, 5, 5, shares);
  Pins pins;
  REQUIRE(sets.sum_up(shares, &pins));
  REQUIRE(pins.known);
  REQUIRE(shares[1].alone == 110);
  REQUIRE(shares[1].alone_holes == 65);
  REQUIRE(shares[2].alone == 7);
  REQUIRE(pins.alone == 117);
  REQUIRE(pins.alone_holes == 66);
  REQUIRE(pins.joint == 1024 + 5000 + 3 + 40);
  REQUIRE(pins.joint_holes == 920 + 4000 + 3 + 30);
  REQUIRE(pins.others == 77);
  REQUIRE(pins.crowded == 40);
  REQUIRE(pins.unlisted == 0);
  REQUIRE(pins.sets.size() == 3);
  REQUIRE(pins.sets[0].count == 3);
  REQUIRE(pins.sets[0].together == 5000 + 1024 + 117);
  REQUIRE(pins.sets[1].bytes == 1024);
  REQUIRE(pins.sets[1].holes == 920);
  REQUIRE(pins.sets[1].together == 1024 + 117);
  REQUIRE(pins.sets[1].sites[0] == 1);
  REQUIRE(pins.sets[1].sites[1] == 2);
  REQUIRE(pins.sets[2].count == 6);
}

TEST_CASE("pin sets: more sets than there is room for; the leading ones stay, and nothing is lost") {
  constexpr std::uint32_t kSites = 200;
  std::mt19937 random(5);
  Arena arena;
  PinSets sets(arena);
  std::vector<ExactShare> shares(kSites);
  std::map<std::set<std::uint32_t>, double> truth;
  double all = 0;
  for (int i = 0; i < 60'000; ++i) {
    // One unit in four is of one of a few sets.
    std::set<std::uint32_t> sites{1, 2 + static_cast<std::uint32_t>(random() % 3)};
    if (i % 4 != 0) sites = {static_cast<std::uint32_t>(random() % kSites), static_cast<std::uint32_t>(random() % kSites)};
    if (sites.size() < 2) continue;
    sets.add(units_of(sites), 4096, 1000, shares);
    truth[sites] += 4096;
    all += 4096;
  }
  REQUIRE(truth.size() > 4096);
  Pins pins;
  REQUIRE(sets.sum_up(shares, &pins));
  REQUIRE(pins.joint == all);
  REQUIRE(pins.unlisted > 0);
  REQUIRE(pins.sets.size() == kShownPinSets);
  for (int i = 0; i < 3; ++i) {
    const PinSet& set = pins.sets[static_cast<std::size_t>(i)];
    REQUIRE(set.bytes == truth[std::set<std::uint32_t>(set.sites, set.sites + set.count)]);
    REQUIRE(set.bytes > 15'000 * 4096.0 / 4);
  }
}
