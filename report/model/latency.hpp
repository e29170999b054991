// SPDX-License-Identifier: Apache-2.0
// How long the allocator's calls took, as plain data. Times are nanoseconds, to a tenth.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "record/latency.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

/// A percentile is told from so many timed calls on: of fewer, none may have been among the slowest of them.
struct QuantileFacts {
  double part;
  std::uint64_t least_calls;
  std::string_view column;  ///< in text
  std::string_view field;   ///< in JSON
};
inline constexpr QuantileFacts kQuantiles[] = {{0.5, 2, "p50", "p50_ns"},
                                               {0.9, 10, "p90", "p90_ns"},
                                               {0.99, 100, "p99", "p99_ns"},
                                               {0.999, 1000, "p99.9", "p99_9_ns"},
                                               {0.9999, 10000, "p99.99", "p99_99_ns"}};
inline constexpr int kQuantileCount = 5;

/// Calls of one operation: all of them, or those of one size group.
struct LatencyRow {
  std::string_view operation;
  std::uint64_t up_to_bytes;  ///< of the size group; 0 = all sizes, UINT64_MAX = the last group
  std::uint64_t timed;        ///< the percentiles are of these
  double mean_ns, most_ns;
  double quantiles_ns[kQuantileCount];  ///< 0 and told() false: too few were timed

  bool told(int quantile) const noexcept { return timed >= kQuantiles[quantile].least_calls; }
  bool is_total() const noexcept { return up_to_bytes == 0; }
};

/// Slow calls of one operation from one call site.
struct LatencySite {
  std::string_view operation;
  std::uint32_t row;  ///< into Latency::stacks; kNoStack: the site is not known
  std::uint64_t calls;
  std::uint64_t longer[record::kSlowSteps - 1];  ///< of them: 10 us and longer, 100 us, 1 ms, 10 ms
  double sum_ns, most_ns;

  static constexpr std::uint32_t kNoStack = UINT32_MAX;
};

struct SiteRow;

struct Latency {
  bool on;
  std::uint64_t every;     ///< of so many calls one is timed
  std::uint64_t since_ns;  ///< how long it has been on, or since the fork
  std::string_view clock;  ///< "tsc", "clock_gettime" ...
  double own_ns;           ///< what the clock itself took of each call: it is subtracted
  std::uint64_t went_back;
  std::span<const LatencyRow> rows;    ///< each operation, then its size groups
  std::uint64_t slow_ns;               ///< calls from this long on are slow
  std::uint64_t slow_calls;            ///< timed ones
  double slow_sum_ns;                  ///< that they took together
  std::span<const LatencySite> sites;  ///< most time first
  std::span<SiteRow> stacks;           ///< of these sites; their figures are not those of allocations
};

/// A stall that came so often is among the timed calls with 95 % confidence: 1 - (1 - 1/every)^n.
inline std::uint64_t surely_seen(std::uint64_t every) noexcept {
  return every <= 1 ? 1
                    : static_cast<std::uint64_t>(
                          math::log(0.05) / math::log(1 - 1 / static_cast<double>(every)) + 1);
}

}  // namespace mallard::report
