// SPDX-License-Identifier: Apache-2.0
// The row of a stack and a size range by their hash, for all threads: one look where the way over the call
// site takes one for each frame that the stack does not share with the one before. Append-only and bounded;
// no lock, so that signal handlers may use it. What finds no room is looked up the long way each time.
#pragma once

#include <cstdint>

#include "base/parts.hpp"

namespace mallard::record {

/// Reserves the table. \return false if the kernel gave no address space \context init
bool path_counts_init() noexcept;
/// Gives it back. \context where nothing is booked yet
void path_counts_release() noexcept;

/// \param key  hash of a stack and a size range, even in all its bits
/// \return 0 = not known \context hot: lock-free
std::uint32_t path_row(std::uint64_t key) noexcept;
/// Keeps what path_row() is to return for a key. \context hot (slow path): lock-free
void keep_path_row(std::uint64_t key, std::uint32_t row) noexcept;

/// Becomes a copy of another process's, for its size. \context offline
bool path_counts_adopt(const OtherParts& parts) noexcept;
std::uint64_t path_counts_own_bytes() noexcept;  ///< resident \context reporter

}  // namespace mallard::record
