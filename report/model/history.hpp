// SPDX-License-Identifier: Apache-2.0
// What has changed since earlier reports of this process, and when the live blocks were born. Sizes are
// bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "report/model/estimate.hpp"

namespace mallard::report {

/// How much a sum over live blocks has changed since an earlier report. A sample that is live in both reports
/// cancels out: the error is that of the blocks born and freed in between, and so far smaller than the errors
/// of the two sums. Blocks that realloc moved count as freed and born.
struct Growth {
  bool known = false;  ///< there was an earlier report, and it remembers this figure
  double bytes = 0;    ///< negative = shrunk
  double variance = 0;

  /// Bounds of the normal distribution's interval at `z` standard errors.
  double low(double z) const noexcept { return bytes - z * math::sqrt(variance); }
  double high(double z) const noexcept { return bytes + z * math::sqrt(variance); }
};

inline constexpr int kBirthPeriods = 4;

/// How live memory has gone with the work that the process did (report/judge/trend.hpp).
struct Trend {
  enum class State : std::uint8_t {
    kUnknown,  ///< nothing is recorded
    kTooFew,   ///< not enough work between the reports so far
    kFlat,
    kGrew,   ///< beyond its error, but whether it goes on cannot be told yet
    kGrows,  ///< in each of at least three stretches of work, the last one included
  };
  State state;
  int stretches;          ///< of work between the reports that are remembered
  double bytes, error;    ///< memory that was not given back again, and its standard error
  double allocated;       ///< meanwhile, bytes
  std::uint64_t ago_ns;   ///< when it began
  std::uint64_t idle_ns;  ///< how long next to nothing has been allocated: nothing was learned since
};
/// As in JSON, indexed by Trend::State.
inline constexpr std::string_view kTrendStates[] = {"unknown", "too_few", "flat", "grew", "grows"};

struct SiteHistory {
  Growth since_first, since_previous;  ///< live bytes
  Growth in_trend;                     ///< live bytes, since History::live began to grow
  Estimate
      born[kBirthPeriods];  ///< live bytes by when they were born: quarters of the recording, oldest first
  /// Largest request that the first report knew, of samples or of all; 0 where it knew none.
  std::uint64_t largest_in_first;

  /// Live bytes of blocks born in the last half of the recording.
  Estimate born_in_last_half() const noexcept {
    Estimate e = born[kBirthPeriods / 2];
    for (int i = kBirthPeriods / 2 + 1; i < kBirthPeriods; ++i) {
      e.value += born[i].value;
      e.variance += born[i].variance;
    }
    set_interval(e);
    return e;
  }
};

/// The whole process against an earlier report.
struct Change {
  bool known = false;
  std::uint64_t ago_ns = 0;
  Growth live;  ///< all sites
  std::int64_t rss_bytes = 0;
  bool causes_known = false;     ///< both reports have a ledger, divided alike
  std::int64_t causes[16] = {};  ///< of the ledger's lines, indexed by Cause
};

/// An earlier report, as far as a series over time needs it.
struct PastPoint {
  std::uint64_t taken_ns;  ///< CLOCK_MONOTONIC
  std::uint64_t rss_bytes;
  double live_bytes;
  bool live_known, ledger_known;
  std::int64_t unexplained_bytes;
  double causes[16];  ///< of the ledger's lines, indexed by Cause
};

struct Past {
  std::span<const PastPoint> points;  ///< oldest first
  std::uint64_t now_ns = 0;           ///< CLOCK_MONOTONIC of the report that tells of them
};

struct History {
  std::uint32_t earlier_reports = 0;
  Change since_first, since_previous;
  Past past;
  Trend live;  ///< of live blocks, as they lie in memory
  Trend heap;  ///< of live and free memory of the heap together
};

}  // namespace mallard::report
