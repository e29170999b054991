// SPDX-License-Identifier: Apache-2.0
// Whether memory grows with the work that a process does. Work is counted in bytes allocated, so that an idle
// night neither hides nor makes growth, and a level counts only as far as memory never fell below it again.
// docs/verdicts.md has the rule in words, and how often it errs. Pure functions of plain data.
#pragma once

#include <cstdint>
#include <span>

#include "report/model/estimate.hpp"
#include "report/model/history.hpp"

namespace mallard::report {

/// A level of memory after so much work.
struct TrendPoint {
  std::uint64_t taken_ns;    ///< CLOCK_MONOTONIC, of the latest report that it stands for
  std::uint64_t learned_ns;  ///< of the first one: since then next to nothing was allocated
  double allocated;          ///< bytes allocated until the first one
  double blocks;             ///< the same in blocks
  double work;               ///< the same, and what came into memory without being allocated meanwhile
  double level;              ///< bytes
  double lowest;             ///< of this level and of all later ones
  double error;              ///< standard error of the level
  double first_level;        ///< of the first report
  std::uint8_t slot;         ///< where the caller keeps what belongs to the point; below kTrendPoints
};

inline constexpr int kTrendPoints = 10;

/// The levels of a process over its work: the newest ones, and ever fewer of those long ago.
struct TrendSeries {
  TrendPoint points[kTrendPoints];
  int count;
  double peak;             ///< the highest level ever
  double drawdown;         ///< the deepest fall below an earlier level: what ups and downs are usual
  double drawdown_before;  ///< the same, without the latest report

  std::span<const TrendPoint> all() const noexcept { return {points, static_cast<std::size_t>(count)}; }
};

/// Enters a level. A report before which next to nothing was allocated moves the latest point, because
/// nothing was learned: its work stays. Where the series is full, the point whose neighbours are nearest, for
/// its age, goes. \return the point
/// \param allocated, blocks  since recording began
TrendPoint& add_level(TrendSeries* series, std::uint64_t taken_ns, double allocated, double blocks,
                      double level, double error) noexcept;

/// Tells how many bytes of blocks born between two times are live still, and what blocks have grown by since
/// the report in `slot`: those that realloc moves are always young.
struct Survivors {
  Estimate (*born)(std::uint64_t after_ns, std::uint64_t until_ns, const void* opaque) noexcept;
  const void* opaque;
  double (*grown)(std::uint8_t slot, const void* opaque) noexcept = nullptr;
};

/// \param from  where the growth begins: index of a point; only if state is kGrows
Trend find_trend(const TrendSeries& series, const Survivors& survivors, int* from) noexcept;

}  // namespace mallard::report
