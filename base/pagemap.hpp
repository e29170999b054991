// SPDX-License-Identifier: Apache-2.0
// Entries of /proc/PID/pagemap, a word for each page. \context any thread
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "arch/page.hpp"
#include "base/os.hpp"

namespace mallard::pagemap {

inline constexpr std::uint64_t kMappedOnce = std::uint64_t{1} << 56, kOfFile = std::uint64_t{1} << 61,
                               kPresent = std::uint64_t{1} << 63;

/// Reads the entries of `pages` pages from `begin` on.
/// \return how many were read: fewer where address space ends; 0 or less if the kernel does not tell
inline long read_entries(long fd, std::uintptr_t begin, std::size_t pages, std::uint64_t* to) noexcept {
  const long bytes = os::pread(static_cast<int>(fd), to, pages * sizeof *to, begin / kPageBytes * sizeof *to);
  return bytes < 0 ? bytes : bytes / static_cast<long>(sizeof *to);
}

/// Sets `present[i]` to 1 if page i from `begin` on is in memory, else to 0.
/// \return false if not all of them could be asked for
inline bool read_presence(long fd, std::uintptr_t begin, std::size_t pages, unsigned char* present) noexcept {
  constexpr std::size_t kAtOnce = 512;  // a page table, and 4 KiB of the stack
  std::uint64_t entries[kAtOnce];
  while (pages > 0) {
    const std::size_t n = std::min(pages, kAtOnce);
    if (read_entries(fd, begin, n, entries) != static_cast<long>(n)) return false;
    for (std::size_t i = 0; i < n; ++i) present[i] = (entries[i] & kPresent) != 0;
    begin += n * kPageBytes;
    present += n;
    pages -= n;
  }
  return true;
}

}  // namespace mallard::pagemap
