// SPDX-License-Identifier: Apache-2.0
// Reads how long calls took: histograms of all threads become percentiles, slow calls become call sites.
#pragma once

#include "base/arena.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// The percentiles of `counts`; those that too few calls were timed for are 0.
/// \param own_ticks  what the clock itself took of each \param tick_ns  nanoseconds of a tick
LatencyRow row_of(const record::LatencyCounts& counts, std::uint64_t own_ticks, double tick_ns) noexcept;

/// What was timed in the own process. Stacks have no frames yet. \return false if memory is out
/// \context reporter
bool copy_latency(Arena& arena, Latency* out) noexcept;

}  // namespace mallard::report
