// SPDX-License-Identifier: Apache-2.0
// The arenas of glibc's malloc, found by their form, and the free blocks that only they lead to: the lists of
// fastbins, whose last block looks like a live one. Context: reporter, offline.
#pragma once

#include "base/process_memory.hpp"
#include "elf/modules.hpp"

namespace mallard::outside {

/// The version as which the heap of a program can be read that is linked statically and does not tell: by the form of
/// the arena in it. 2.42, whose arenas look like older ones, is taken for 2.41. Leaves the version set to another one.
const char* version_by_arena(const ProcessMemory& process, const elf::Modules& modules) noexcept;

/// \param data  of the version that was set: global variables of the object that has glibc inside
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
