// SPDX-License-Identifier: Apache-2.0
// Objects that were loaded after init, where libc cannot be asked for them without a lock: glibc before 2.35.
#pragma once

#include <cstdint>

#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {

/// Finds an object by its ELF header in memory, below the mapping of `code` in /proc/self/maps, and remembers what it
/// found there, an object or none, until forget_loaded_later(). Takes no lock that it waits for.
/// \return false if there is no object, no way to tell, or no room to remember it \context refill: any thread, handlers
bool find_loaded_later(std::uintptr_t code, Module* out) noexcept;

/// An object was unloaded: another one may take its place. \context any thread
void forget_loaded_later() noexcept;

}  // namespace mallard::unwind
