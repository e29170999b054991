// SPDX-License-Identifier: Apache-2.0
// Observing the allocator inside the executable (ALLOC_EMBEDDED=observe): each of its entry points becomes a jump
// to a watcher of ours, which goes on with the instructions that the jump displaced. The allocator's own calls of its
// entries pass the watchers by.
#pragma once

#include "inside/observed.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {

/// Puts a plan to observe into force.
/// \param watchers  get the address of their Observed where arch::write_watch_stub() says
/// \return false, with the reason in it, if it cannot be
/// \context init, before any code of the program has run
bool observe_planned(TakeoverPlan& plan, const Watchers& watchers) noexcept;

}  // namespace mallard::inside
