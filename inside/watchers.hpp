// SPDX-License-Identifier: Apache-2.0
// The watchers of watched_calls.S, for who links that file.
#pragma once

#include <cstddef>

#include "inside/block_calls.hpp"
#include "inside/observed.hpp"

extern "C" {
void mallard_watch();
void mallard_watch_first();
void mallard_watch_second();
void mallard_watch_product();
void mallard_watch_free();
void mallard_watch_move();
}

namespace mallard::inside {

// As watched_calls.S has it.
static_assert(offsetof(Observed, original) == 0);

/// In the order of Watcher.
inline constexpr Watchers kAllWatchers{{mallard_watch, mallard_watch_first, mallard_watch_second, mallard_watch_product,
                                        mallard_watch_free, mallard_watch_move}};

}  // namespace mallard::inside
