// SPDX-License-Identifier: Apache-2.0
// Records the calls of an allocator inside the executable, to whose entry points `mallard attach` has written jumps.
#pragma once

#include "inside/block_calls.hpp"

namespace mallard::attach {

/// The code that such calls are led to (watched_calls.S of the architecture).
extern const inside::Watchers watchers __attribute__((visibility("hidden")));

}  // namespace mallard::attach
