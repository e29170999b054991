// SPDX-License-Identifier: Apache-2.0
// Records the calls of an allocator that serves inside the executable (ALLOC_EMBEDDED=observe).
#pragma once

#include "inside/block_calls.hpp"

namespace mallard::interpose {

/// The code that such calls are led to (watched_calls.S of the architecture). \context init
const inside::Watchers& watchers() noexcept;

}  // namespace mallard::interpose
