// SPDX-License-Identifier: Apache-2.0
// What the kernel says of each mapping in /proc/PID/smaps: the one reader of that file. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/process_memory.hpp"

namespace mallard::report {

/// Figures of one mapping, in bytes; what the kernel does not have is 0. Pages of zeros that were only read,
/// pages in the swap cache and hugetlbfs pages are in none of them.
struct SmapsEntry {
  std::uintptr_t begin, end;
  std::uint64_t resident;      ///< Rss
  std::uint64_t proportional;  ///< Pss: each page divided by how many processes map it
  std::uint64_t shared_clean, shared_dirty, private_clean, private_dirty;
  std::uint64_t anonymous;     ///< of resident: no page of a file, nor of shared memory
  std::uint64_t lazily_freed;  ///< of anonymous: given back by MADV_FREE, and not taken yet
  std::uint64_t huge_pages;    ///< of anonymous: on transparent huge pages
  std::uint64_t swapped, locked;
};

/// Reads all mappings, in the order of their addresses. The kernel walks the page tables of a mapping under
/// the lock of the address space, some 6 ms for each GiB of small pages that are in memory: the host's mmap
/// waits as long. \return false if smaps is not readable, or memory is out \context reporter
bool read_smaps(Arena& arena, const ProcessMemory& process, std::span<const SmapsEntry>* out) noexcept;

}  // namespace mallard::report
