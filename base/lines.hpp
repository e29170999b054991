// SPDX-License-Identifier: Apache-2.0
// The lines of a text file, without stdio. Context: reporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/arena.hpp"

namespace mallard {

/// Calls `visit` with each line of a file, without its end; a line beyond 64 KiB is cut. Pauses between the
/// reads, because the kernel writes maps and smaps under the lock of the address space.
/// \return false if the file cannot be read to its end or memory is out
/// \param at_once  bytes that one read asks for: little makes the kernel hold its lock for little
bool for_each_line(Arena& arena, const char* path,
                   void (*visit)(std::string_view line, void* opaque) noexcept, void* opaque,
                   std::size_t at_once = SIZE_MAX) noexcept;

}  // namespace mallard
