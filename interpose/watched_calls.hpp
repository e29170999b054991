// SPDX-License-Identifier: Apache-2.0
// Records the calls of an allocator that serves inside the executable (ALLOC_EMBEDDED=observe). Each call goes on to
// the very function that the program called: its answers, its odd cases and its exceptions stay its own.
#pragma once

#include "inside/block_calls.hpp"

namespace mallard::interpose {

/// The code that such a call is led to (watched_calls.S of the architecture). \context init
const void* watcher_for(const inside::BlockCall& call) noexcept;

}  // namespace mallard::interpose
