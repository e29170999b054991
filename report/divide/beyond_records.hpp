// SPDX-License-Identifier: Apache-2.0
// Live memory that the allocator counts and no record explains: how much of it is more than chance. Pure
// arithmetic. Context: reporter.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/math.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

/// What live memory is taken to be that the records do not account for.
enum class Beyond : std::uint8_t {
  kChance,       ///< the error of sampling, or of how a census tells free blocks
  kOlder,        ///< blocks older than the records
  kPastMallard,  ///< blocks allocated past mallard
};

/// What is known before the figures are compared.
struct BeyondEvidence {
  bool bound = false;       ///< an object is known whose calls lead to the allocator that serves
  double sample_bytes = 0;  ///< mean bytes between samples; 0: every block is recorded
  double not_live = 0;      ///< bytes that a census takes for live: thread caches, the allocator's own blocks
  double in_motion = 0;     ///< bytes allocated since the records were copied
  bool recorded = true;     ///< false: nothing is recorded, so that nothing can be beyond it
};

/// By how much a sum over samples may be too low: `errors` standard errors, and as many samples as may be
/// missing altogether at that probability (-ln of it, near enough).
inline double sampling_margin(double variance, double sample_bytes, double errors) noexcept {
  return errors * math::sqrt(variance) + (errors * errors / 2 + 1.5) * sample_bytes;
}

/// Errors within which nothing is said: one in a million where nothing is known to call the allocator past
/// mallard, one in a thousand where something is.
inline constexpr double kErrorsUnbound = 5, kErrorsBound = 3;
/// What a census may be wrong by: blocks of fastbins and caches that it takes for live, measured at 0.1 %.
inline constexpr double kCensusShareUnbound = 0.02, kCensusShareBound = 0.005;
inline constexpr double kCensusBytesUnbound = 1 << 20, kCensusBytesBound = 64 << 10;

/// How far `counted` live bytes may be beyond those of the records without meaning anything.
inline double beyond_margin(double counted, double recorded_variance, const BeyondEvidence& e) noexcept {
  const double sampling =
      sampling_margin(recorded_variance, e.sample_bytes, e.bound ? kErrorsBound : kErrorsUnbound);
  return sampling + e.in_motion + (e.bound ? kCensusShareBound : kCensusShareUnbound) * counted +
         (e.bound ? kCensusBytesBound : kCensusBytesUnbound);
}

inline bool is_past_mallard(double counted, const Estimate& recorded, const BeyondEvidence& e) noexcept {
  const double live = counted - e.not_live;
  return e.recorded && live - recorded.value > beyond_margin(live, recorded.variance, e);
}

/// A stratum whose excess is within so many errors is taken to be all recorded, once it is known that not all
/// of the heap is.
inline constexpr double kErrorsOfStratum = 2;

/// What is left of `live` counted bytes beyond `recorded` ones, with its interval.
inline Estimate rest_of(double live, Estimate recorded, double sample_bytes) noexcept {
  constexpr double kZ = 1.96, kUnseenSamples = 3;  // none of 3 expected samples is met once in 20
  Estimate rest{std::max(0.0, live - recorded.value), recorded.variance, true, 0, 0};
  const double error = kZ * math::sqrt(recorded.variance);
  const double unseen = recorded.variance > 0 || sample_bytes == 0 ? 0 : kUnseenSamples * sample_bytes;
  rest.low = std::max(0.0, rest.value - error - unseen);
  rest.high = std::max(rest.value, std::min(live, rest.value + error));
  return rest;
}

}  // namespace mallard::report
