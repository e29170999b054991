// SPDX-License-Identifier: Apache-2.0
// Earlier reports of the process as points in time, few enough to keep them all along: for the series over
// time. One report at a time (the reporter's lock). Context: reporter, exit.
#pragma once

#include <cstdint>

#include "base/parts.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Reports that are kept. When they are too many every second one goes, the first one never.
inline constexpr std::uint32_t kPastPoints = 128;

/// \return the earlier reports, oldest first, until the next call; this one is kept for the next
/// \param taken_ns  of this report, CLOCK_MONOTONIC
Past keep_point(const Snapshot& snapshot, std::uint64_t taken_ns) noexcept;

/// They become a copy of another process's. \context offline
bool points_adopt(const OtherParts& parts) noexcept;

/// They were another process's. \context child of a fork
void forget_points() noexcept;

}  // namespace mallard::report
