// SPDX-License-Identifier: Apache-2.0
// The counts of another process that runs on, made counts of one moment as nearly as can be had.
#pragma once

#include <cstdint>

#include "base/parts.hpp"

namespace mallard::record {

/// Adopts rows, sites and threads' records. What threads had in their entries is added to the rows, and the
/// entries are empty then.
/// \param unsure  rows that changed each time that they were read: off by what a thread had, once
/// \return false if they cannot be read, or memory is out \context offline
bool adopt_counts(const OtherParts& parts, std::uint64_t* unsure) noexcept;

}  // namespace mallard::record
