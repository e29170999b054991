// SPDX-License-Identifier: Apache-2.0
// Taking over the allocator inside the executable (ALLOC_EMBEDDED=redirect): each of its entry points becomes
// a jump to the function of ours that does the same. Observing it (ALLOC_EMBEDDED=observe) is done alike. Both change
// all entry points or none, and are refused where anything is in doubt.
#pragma once

#include <string_view>

#include "inside/observe.hpp"

namespace mallard::inside {

/// Finds the code that answers a target of inside/entry_points.hpp. \return nullptr if there is none
using FindAnswer = const void* (*)(std::string_view target) noexcept;

/// Tries it, says why if it is refused, and leaves the outcome to inside/outcome.hpp.
/// \return true if the executable's entry points lead to us now
/// \context init, before any code of the program has run
bool take_over(FindAnswer find_answer) noexcept;

/// Tries it, as above. \return true if the executable's entry points lead to the watchers now
/// \context init, before any code of the program has run
bool observe(const Watchers& watchers) noexcept;

/// True if no code of the executable has changed its own variables, thread-local ones included: an allocator
/// in it has then handed out nothing. \context init
bool has_not_run(const char** why) noexcept;

}  // namespace mallard::inside
