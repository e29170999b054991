// SPDX-License-Identifier: Apache-2.0
// Where the calling thread's own stack lies: memory that stays mapped while the thread runs, and so may be
// read plainly. What libc's descriptor says of a thread is believed if it fits what is known of the first
// thread; else, and for the first thread, whose stack grows, /proc/self/maps is read.
#pragma once

#include <cstdint>

#include "base/attributes.hpp"
#include "base/parts.hpp"

namespace mallard::unwind {

/// The bounds that were found; both 0 until then.
struct OwnStack {
  std::uintptr_t low, high;
  int searches;
};
extern __thread OwnStack t_own_stack;  // thread_local would be initialised by a function for gcc 10

/// The calling thread is the one that the process began with; later calls say nothing. \context init
void note_first_thread() noexcept;

/// Looks for the bounds; gives up after some attempts. \return as own_stack_top() \context hot (slow path)
std::uintptr_t search_own_stack(std::uintptr_t sp) noexcept;

/// \return the top of the calling thread's own stack if `sp` lies on it, else 0: on a signal or coroutine
/// stack \context hot
inline std::uintptr_t own_stack_top(std::uintptr_t sp) noexcept {
  const OwnStack& stack = t_own_stack;
  if (MALLARD_LIKELY(sp - stack.low < stack.high - stack.low)) return stack.high;
  return search_own_stack(sp);
}

/// Finds the mapping of this process that holds an address, by reading /proc/self/maps up to it.
/// \return false if none does \context hot (slow path)
bool find_mapping(std::uintptr_t address, std::uintptr_t* begin, std::uintptr_t* end) noexcept;

bool own_stacks_adopt(const OtherParts& parts) noexcept;  ///< \context offline
std::uint64_t maps_readings() noexcept;                   ///< how often /proc/self/maps was read for a stack

}  // namespace mallard::unwind
