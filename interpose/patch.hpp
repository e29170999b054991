// SPDX-License-Identifier: Apache-2.0
// Changes the code of the hot exports: once at start, so that they jump to the backend without reading the
// table, and whenever another mode is put in force.
#pragma once

#include "base/options.hpp"

namespace mallard::interpose {

/// Writes the final jumps and the mode's. Where the kernel does not let code be changed, the exports stay as
/// compiled: sample mode, through the table. \param timed  a share of the calls is timed (record/latency.hpp)
/// \return false then \context init, single-threaded, once the table is final
bool patch_at_start(Mode mode, bool timed) noexcept;

/// Puts the exports of another mode in force, in one step, while other threads go through them.
/// \return false if the kernel refused, or patch_at_start() failed; then nothing has changed
/// \context reporter; a forked child
bool patch_mode(Mode mode, bool timed) noexcept;

}  // namespace mallard::interpose
