// SPDX-License-Identifier: Apache-2.0
// Where a limit on address space (RLIMIT_AS, ulimit -v) is in force, the program gets what mallard's tables have
// not used yet before it sees an allocation fail that would not have failed without mallard.
#pragma once

#include "backends/backend.hpp"

namespace mallard::interpose {

/// Puts functions in front of the backend's that try again once the tables have given back. Where there is no
/// limit at start the backend's own stay: nothing then stands between the exports and them.
/// \context init, before the backend is installed
void retry_at_address_limit(backends::Backend* backend) noexcept;

}  // namespace mallard::interpose
