// SPDX-License-Identifier: Apache-2.0
// The arenas of glibc's malloc, found by their form, and the free blocks that only they lead to: the lists of
// fastbins, whose last block looks like a live one. Context: reporter, offline.
#pragma once

#include "base/process_memory.hpp"

namespace mallard::outside {

/// \param data  global variables of the object that has glibc inside
/// \return where the main arena lies; 0 if it is not among them
std::uintptr_t find_main_arena(const ProcessMemory& process, AddressRange data) noexcept;

/// What of memory an arena's own description takes. Its words lead to free chunks, and with that into the
/// live blocks before them.
AddressRange description_of_arena(std::uintptr_t arena) noexcept;

/// Calls visit(block) for each block on a fastbin of the arena and of those that follow it in the list of
/// all.
void for_each_fast_block(const ProcessMemory& process, std::uintptr_t main_arena,
                         void (*visit)(std::uintptr_t block, void* opaque), void* opaque) noexcept;

}  // namespace mallard::outside
