// SPDX-License-Identifier: Apache-2.0
// Reports call the allocator inside the executable the server where it is observed, else the backend.
#pragma once

#include "backends/backend.hpp"

namespace mallard::interpose {

/// Describes the allocator that is observed, if there is one, once the backend is installed.
/// \return the one that reports are about \context constructor
const backends::Backend& describe_server() noexcept;
/// Who answers calls of malloc beside an observed allocator; nullptr = that one, or none is observed.
/// \context any, after describe_server()
const backends::Backend* beside_observed() noexcept;
/// Whether that is glibc, and its heap is divided, too. \context any, after describe_server()
bool divides_beside() noexcept;
/// Served::ask_instead of an observed allocator. \context reporter
void ask_instead(heaps::CensusResult (*census)(const heaps::CensusRequest& request)) noexcept;

}  // namespace mallard::interpose
