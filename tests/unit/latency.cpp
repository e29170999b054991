// SPDX-License-Identifier: Apache-2.0
// Histograms of times against the distributions that they are of, and which calls are timed.
#include "report/facts/latency.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "record/latency_clock.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using record::LatencyCounts;

namespace {

constexpr double kLargestError = 0.03;

std::unique_ptr<LatencyCounts> counted(const std::vector<std::uint64_t>& values) {
  auto counts = std::make_unique<LatencyCounts>();
  for (const std::uint64_t value : values) {
    ++counts->buckets[record::bucket_of(value)];
    counts->most_ticks = std::max(counts->most_ticks, value);
  }
  return counts;
}

/// The percentiles of values, from the values themselves.
void check_quantiles(std::vector<std::uint64_t> values, double tick_ns) {
  const report::LatencyRow row = report::row_of(*counted(values), 0, tick_ns);
  std::sort(values.begin(), values.end());
  REQUIRE(row.timed == values.size());
  CHECK(row.most_ns == Approx(static_cast<double>(values.back()) * tick_ns).margin(0.06));
  for (int i = 0; i < report::kQuantileCount; ++i) {
    REQUIRE(row.told(i) == (values.size() >= report::kQuantiles[i].least_calls));
    if (!row.told(i)) continue;
    const double rank = std::ceil(report::kQuantiles[i].part * static_cast<double>(values.size()) - 1e-9);
    const double exact = static_cast<double>(values[static_cast<std::size_t>(rank) - 1]) * tick_ns;
    INFO(report::kQuantiles[i].column << ": " << row.quantiles_ns[i] << " for " << exact);
    CHECK(row.quantiles_ns[i] <= exact * (1 + kLargestError) + 0.06);
    CHECK(row.quantiles_ns[i] >= exact * (1 - kLargestError) - 0.06);
  }
}

}  // namespace

TEST_CASE("latency: each value is in its bucket, and the bucket's middle is near it in both directions") {
  for (std::uint32_t b = 0; b < record::kBuckets; ++b) {
    REQUIRE(record::bucket_begin(b) < record::bucket_begin(b + 1));
    REQUIRE(record::bucket_of(record::bucket_begin(b)) == b);
    REQUIRE(record::bucket_of(record::bucket_begin(b + 1) - 1) == b);
  }
  std::mt19937_64 random(1);
  double above = 0, below = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const std::uint64_t value = random() >> (22 + random() % 42);
    const double error = record::bucket_middle(record::bucket_of(value)) - static_cast<double>(value);
    if (value == 0) continue;
    above = std::max(above, error / static_cast<double>(value));
    below = std::max(below, -error / static_cast<double>(value));
  }
  CHECK(above <= kLargestError);
  CHECK(below <= kLargestError);
  CHECK(above > 0.01);  // it is a histogram
  CHECK(record::bucket_of(UINT64_MAX) == record::kBuckets - 1);
}

TEST_CASE("latency: percentiles are those of the distribution within 3 %") {
  std::mt19937_64 random(2);
  for (const std::size_t count : {20'000, 1'000'000}) {
    std::vector<std::uint64_t> values(count);
    SECTION("exponential, " + std::to_string(count)) {
      std::exponential_distribution<double> draw(1e-4);
      for (auto& v : values) v = static_cast<std::uint64_t>(draw(random));
      check_quantiles(values, 0.4);
    }
    SECTION("log-normal over six orders, " + std::to_string(count)) {
      std::lognormal_distribution<double> draw(5, 2.5);
      for (auto& v : values) v = static_cast<std::uint64_t>(draw(random));
      check_quantiles(values, 0.357);
    }
    SECTION("one call of a thousand stalls, " + std::to_string(count)) {
      for (auto& v : values) v = random() % 1000 == 0 ? 3'000'000 + random() % 1000 : 20 + random() % 20;
      check_quantiles(values, 1);
    }
    SECTION("uniform, " + std::to_string(count)) {
      for (auto& v : values) v = 1000 + random() % 64000;
      check_quantiles(values, 1);
    }
  }
}

TEST_CASE("latency: a percentile is told from the calls on that it is the slowest of") {
  for (const auto& [calls, told] : {std::pair(1, 0),
                                    {2, 1},
                                    {9, 1},
                                    {10, 2},
                                    {99, 2},
                                    {100, 3},
                                    {999, 3},
                                    {1000, 4},
                                    {9999, 4},
                                    {10000, 5}}) {
    const std::vector<std::uint64_t> values(static_cast<std::size_t>(calls), 50);
    const report::LatencyRow row = report::row_of(*counted(values), 0, 1);
    for (int i = 0; i < report::kQuantileCount; ++i) {
      CHECK(row.told(i) == (i < told));
      CHECK(row.quantiles_ns[i] == (i < told ? 50 : 0));
    }
  }
  CHECK(report::row_of(*counted({}), 0, 1).timed == 0);
}

TEST_CASE("latency: the clock's own time is subtracted, and never more than there is") {
  const report::LatencyRow row = report::row_of(*counted({50, 52, 60, 60, 900}), 52, 0.5);
  CHECK(row.quantiles_ns[0] == 4);
  CHECK(row.most_ns == 424);
  CHECK(row.mean_ns == Approx((0 + 0 + 8 + 8 + 848) * 0.5 / 5).epsilon(0.03));
  CHECK(report::row_of(*counted({50, 51}), 52, 0.5).quantiles_ns[0] == 0);
}

TEST_CASE("latency: each call has the same chance of being timed, whatever was timed before") {
  constexpr int kCalls = 4'000'000;
  REQUIRE(record::latency_begin(64, nullptr));
  int timed = 0, last = -1, beside = 0;
  std::vector<int> in_phase(64);  // a program that repeats itself every 64 calls
  for (int i = 0; i < kCalls; ++i) {
    if (!record::latency_is_due()) continue;
    ++timed;
    beside += i - last == 1;
    last = i;
    ++in_phase[static_cast<std::size_t>(i % 64)];
  }
  const double expected = kCalls / 64.0, spread = std::sqrt(expected);
  CHECK(std::fabs(timed - expected) < 5 * spread);
  CHECK(std::fabs(beside - expected / 64) < 5 * std::sqrt(expected / 64) + 1);
  for (const int n : in_phase) CHECK(std::fabs(n - expected / 64) < 6 * std::sqrt(expected / 64));
  CHECK(report::surely_seen(64) == 191);
  record::latency_end();
  for (int i = 0; i < 10'000; ++i) REQUIRE(!record::latency_is_due());
  REQUIRE(record::latency_begin(1, nullptr));
  while (!record::latency_is_due()) {
  }  // the gap that was drawn last
  for (int i = 0; i < 1000; ++i) CHECK(record::latency_is_due());
  record::latency_end();
}

TEST_CASE("latency: a report tells operations and size groups apart, and frees that were asked for sizes") {
  using record::Operation;
  REQUIRE(record::latency_begin(1, nullptr));
  while (!record::latency_is_due()) {
  }  // the thread has a record
  const std::uint64_t own = record::latency_clock_own_ticks();
  for (std::uint64_t i = 0; i < 100; ++i) {
    record::latency_note(Operation::kMalloc, record::size_group_of(64), 0, own + 20, {});
    record::latency_note(Operation::kMalloc, record::size_group_of(100'000), 0, own + 200, {});
    record::latency_note(Operation::kFree, record::kUnknownSize, 0, own + 30, {});
    record::latency_note(Operation::kFree, record::size_group_of(128), 0, own + 10, {});
  }
  record::latency_note(Operation::kFree, record::size_group_of(129), 0, own + 4000000, {1, 0, 0});
  record::latency_note(Operation::kFree, record::size_group_of(129), 10, 9, {1, 0, 0});
  Arena arena;
  report::Latency l{};
  REQUIRE(report::copy_latency(arena, &l));
  record::latency_end();
  REQUIRE(l.rows.size() == 6);
  const double tick_ns = record::latency_tick_ns();
  CHECK((record::latency_clock_name() == std::string_view("tsc")) == (tick_ns != 1));  // else it counts nanoseconds
  // The clock's own was measured once more, and may be less by now.
  const auto more = static_cast<double>(own - record::latency_clock_own_ticks());
  const auto near = [=](double ticks) { return Approx((ticks + more) * tick_ns).margin(0.7).epsilon(0.03); };
  CHECK(l.rows[0].operation == "malloc");
  CHECK(l.rows[0].is_total());
  CHECK(l.rows[0].timed == 200);
  CHECK(l.rows[0].quantiles_ns[0] == near(20));
  CHECK(l.rows[0].quantiles_ns[1] == near(200));
  CHECK(l.rows[1].up_to_bytes == 128);
  CHECK(l.rows[2].up_to_bytes == 1048576);
  CHECK(l.rows[3].operation == "free");
  CHECK(l.rows[3].timed == 100);  // those that were not asked
  CHECK(l.rows[3].quantiles_ns[1] == near(30));
  CHECK(l.rows[3].most_ns == near(4000000));  // of all
  CHECK(l.rows[4].quantiles_ns[1] == near(10));
  CHECK(l.rows[5].up_to_bytes == 1024);
  CHECK(l.went_back == 1);
  CHECK(l.slow_calls == 1);
  REQUIRE(l.sites.size() == 1);
  CHECK(l.sites[0].row == report::LatencySite::kNoStack);  // nothing is recorded here
  CHECK(l.sites[0].most_ns == near(4000000));
}
