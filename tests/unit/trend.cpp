// SPDX-License-Identifier: Apache-2.0
// Series of levels over work: what is growth, and what is none.
#include "report/judge/trend.hpp"

#include <cmath>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr double kMega = 1 << 20;
constexpr std::uint64_t kSecond = 1'000'000'000;

class Series {
 public:
  /// A report a second later. \param live, allocated  MiB
  Trend::State add(double live, double allocated, std::uint64_t seconds = 1) {
    allocated_ += allocated * kMega;
    blocks_ += 5000;
    now_ += seconds * kSecond;
    add_level(&series_, now_, allocated_, blocks_, live * kMega, 0.002 * live * kMega + 64e3);
    trend = find_trend(series_, survivors, &from);
    return trend.state;
  }
  int count() const { return series_.count; }
  const TrendSeries& series() const { return series_; }

  Survivors survivors{};
  Trend trend{};
  int from = -1;

 private:
  TrendSeries series_{};
  double allocated_ = 0, blocks_ = 0;
  std::uint64_t now_ = 0;
};

Trend::State last_of(const std::vector<double>& levels, double allocated = 200) {
  Series s;
  Trend::State state{};
  for (const double level : levels) state = s.add(level, allocated);
  return state;
}

/// Part of all reports of seeded series that say growth.
double part_that_grows(const std::function<double(int, std::mt19937&)>& level, int reports = 40,
                       int runs = 100) {
  int grows = 0;
  for (int run = 0; run < runs; ++run) {
    std::mt19937 random(static_cast<unsigned>(run) + 1);
    Series s;
    for (int i = 0; i < reports; ++i) grows += s.add(level(i, random), 200) == Trend::State::kGrows;
  }
  return grows / static_cast<double>(reports * runs);
}

}  // namespace

TEST_CASE("trend: where next to nothing was allocated nothing was learned: the latest point moves") {
  Series s;
  s.add(100, 200);
  s.add(110, 200);
  s.add(107, 1);
  REQUIRE(s.count() == 2);
  const TrendPoint &first = s.series().points[0], &latest = s.series().points[1];
  CHECK(first.level == 100 * kMega);
  CHECK(first.lowest == 100 * kMega);
  CHECK(first.taken_ns == kSecond);
  CHECK(latest.level == 107 * kMega);
  CHECK(latest.lowest == 107 * kMega);
  CHECK(latest.taken_ns == 3 * kSecond);
  CHECK(latest.error == Approx(0.002 * 107 * kMega + 64e3));
  CHECK(latest.allocated == 400 * kMega);  // its work stays
  s.add(95, 200);
  REQUIRE(s.count() == 3);
  CHECK(first.lowest == 95 * kMega);
  CHECK(latest.lowest == 95 * kMega);
  CHECK(latest.level == 107 * kMega);
  CHECK(s.series().peak == 110 * kMega);
  CHECK(s.series().drawdown == 15 * kMega);
  CHECK(s.series().drawdown_before == 3 * kMega);
}

TEST_CASE("trend: three stretches of even growth") {
  REQUIRE(last_of({100}) == Trend::State::kTooFew);
  REQUIRE(last_of({100, 110}) == Trend::State::kGrew);
  REQUIRE(last_of({100, 110, 120}) == Trend::State::kGrew);
  REQUIRE(last_of({100, 110, 120, 130}) == Trend::State::kGrows);
  REQUIRE(last_of({100, 100, 100, 100}) == Trend::State::kFlat);
  REQUIRE(last_of({100, 110, 120, 100}) == Trend::State::kFlat);  // given back
  REQUIRE(last_of({100, 130, 130, 130}) == Trend::State::kGrew);
  REQUIRE(last_of({100, 130, 130, 130, 130}) == Trend::State::kFlat);
}

TEST_CASE("trend: what fills slows down, what leaks does not") {
  REQUIRE(last_of({40, 70, 92, 108, 120, 128, 133, 136}) != Trend::State::kGrows);
  REQUIRE(last_of({40, 55, 70, 85, 100, 115, 130, 145}) == Trend::State::kGrows);
}

TEST_CASE("trend: what keeps all that it allocates may be loading, and is given more time") {
  const std::vector<double> with_base = {100, 120, 140, 160, 180}, alone = {20, 40, 60, 80, 100, 120, 140};
  const auto first_growth = [](const std::vector<double>& levels) {
    Series s;
    int n = 0;
    for (const double level : levels) {
      ++n;
      if (s.add(level, 20) == Trend::State::kGrows) return n;
    }
    return 0;
  };
  REQUIRE(first_growth(with_base) == 5);
  REQUIRE(first_growth(alone) == 6);
}

TEST_CASE("trend: an idle time neither hides growth nor makes it surer") {
  Series s;
  for (const double level : {100, 110, 120, 130}) s.add(level, 200);
  const Trend before = s.trend;
  for (int i = 0; i < 50; ++i) REQUIRE(s.add(130, 0) == Trend::State::kGrows);
  REQUIRE(s.trend.bytes == before.bytes);
  REQUIRE(s.trend.idle_ns == 50 * kSecond);
  REQUIRE(s.add(90, 0) != Trend::State::kGrows);  // it was given back after all
  Series loaded;
  loaded.add(20, 20);
  loaded.add(80, 60);
  for (int i = 0; i < 25; ++i) REQUIRE(loaded.add(80, 0) != Trend::State::kGrows);
}

TEST_CASE("trend: growth that needs ever more work for the same is seen over time") {
  Series s;
  Trend::State state{};
  for (int i = 1; i <= 8; ++i) state = s.add(20 + 20 * i, 200.0 * i);  // a vector moved by realloc
  REQUIRE(state == Trend::State::kGrows);
}

TEST_CASE("trend: growth that needs ever more bytes and time for the same is seen over blocks") {
  Series s;
  Trend::State state{};
  for (int i = 1; i <= 8; ++i)
    state = s.add(30 + 5 * i, 10 + 50.0 * i, 1 + 3 * static_cast<std::uint64_t>(i));
  REQUIRE(state == Trend::State::kGrows);
}

TEST_CASE("trend: what fills up does not seem to go on where time passed without work") {
  const double levels[] = {22.6, 36.2, 44.4, 49.5, 52.5, 54.4};
  const std::uint64_t seconds[] = {1, 2, 2, 6, 1, 1};
  Series s;
  for (int i = 0; i < 6; ++i) REQUIRE(s.add(levels[i], 25, seconds[i]) != Trend::State::kGrows);
}

TEST_CASE("trend: pages of large blocks that are touched at last are work, too") {
  Series s;
  Trend::State state{};
  s.add(40, 200);
  for (int i = 1; i <= 7; ++i) state = s.add(40 + 10 * i, i == 4 ? 100 : 0);
  REQUIRE(s.count() == 8);
  REQUIRE(state == Trend::State::kGrows);
}

TEST_CASE("trend: growth that has stood still for some reports, or begins to fall, is none any more") {
  Series s;
  for (int i = 0; i < 8; ++i) s.add(20 + 4 * i, 20);
  REQUIRE(s.trend.state == Trend::State::kGrows);
  for (int i = 0; i < 4; ++i) s.add(48, 20);
  REQUIRE(s.trend.state != Trend::State::kGrows);
  Series drains;
  for (const double level : {20, 30, 40, 50, 60}) drains.add(level, 200);
  REQUIRE(drains.trend.state == Trend::State::kGrows);
  REQUIRE(drains.add(55, 200) != Trend::State::kGrows);
}

TEST_CASE("trend: ups and downs are no growth; a leak beneath them is") {
  REQUIRE(part_that_grows([](int, std::mt19937& r) { return 100 * std::normal_distribution<>(1, 0.01)(r); }) <
          0.002);
  REQUIRE(part_that_grows([](int, std::mt19937& r) { return 100 * std::normal_distribution<>(1, 0.1)(r); }) <
          0.002);
  REQUIRE(part_that_grows([](int i, std::mt19937&) { return 100.0 + 50 * ((i + 2) % 4); }) == 0);
  REQUIRE(part_that_grows([](int i, std::mt19937& r) {
            return 100 * std::normal_distribution<>(1, 0.03)(r) + 5 * i;
          }) > 0.8);
}

TEST_CASE("trend: what only happens to be high now has no survivors") {
  Series s;
  static double survivors;
  s.survivors = {[](std::uint64_t, std::uint64_t, const void*) noexcept {
                   return Estimate{survivors, 0, true, survivors, survivors};
                 },
                 nullptr};
  survivors = 2 * kMega;
  for (const double level : {100, 110, 120}) s.add(level, 200);
  REQUIRE(s.add(130, 200) == Trend::State::kGrew);
  survivors = 11 * kMega;
  REQUIRE(s.add(140, 200) == Trend::State::kGrows);
}

TEST_CASE("trend: blocks that grow are young, and yet they are growth") {
  Series s;
  static double grown;
  s.survivors = {[](std::uint64_t, std::uint64_t, const void*) noexcept { return Estimate{}; }, nullptr,
                 [](std::uint8_t, const void*) noexcept { return grown; }};
  grown = 0;
  for (const double level : {100, 110, 120, 130}) s.add(level, 200);
  REQUIRE(s.add(140, 200) == Trend::State::kGrew);
  grown = 60 * kMega;
  REQUIRE(s.add(150, 200) == Trend::State::kGrows);
}

TEST_CASE("trend: the series keeps its first level, its newest ones, and fewer of those long ago") {
  Series s;
  for (int i = 0; i < 200; ++i) s.add(100 + i, 200);
  REQUIRE(s.count() == kTrendPoints);
  const auto points = s.series().all();
  REQUIRE(points.front().level == 100 * kMega);
  for (std::size_t i = 1; i < points.size(); ++i) REQUIRE(points[i - 1].allocated < points[i].allocated);
  REQUIRE(points[kTrendPoints - 2].level == 298 * kMega);
  bool used[kTrendPoints] = {};
  for (const TrendPoint& p : points) REQUIRE_FALSE(std::exchange(used[p.slot], true));
  REQUIRE(s.trend.state == Trend::State::kGrows);
  REQUIRE(s.from == 0);
}
