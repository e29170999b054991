// SPDX-License-Identifier: Apache-2.0
// What is known of the pages in memory beyond where they lie: who else has them, which are given back or
// locked, and which must be written back. Context: reporter.
#pragma once

#include <cstdint>

#include "report/facts/regions.hpp"

namespace mallard::report {

/// Each figure is of the whole process; find_page_use() also fills in those of Region.
struct PageUse {
  bool has_smaps = false;               ///< smaps was read: the four figures are there
  const char* smaps_why_not = nullptr;  ///< one clause, where it was not
  std::uint64_t proportional = 0;       ///< PSS
  std::uint64_t lazily_freed = 0;
  std::uint64_t locked_files = 0;         ///< pages of files, not of shared memory, that mlock keeps
  std::uint64_t dirty_files = 0;          ///< pages of files that are to be written back
  const char* sharing_why_not = nullptr;  ///< one clause, where not all pages were looked at; else nullptr
};

/// Looks at single pages by pagemap, and at mappings by smaps where no mapping is so large that the kernel's
/// walk over it would hold up the host for long. The smaps of another process is always read: somebody asked
/// for it.
/// \param rss    says whether lazily freed memory may be there, for which a longer walk is made
/// \param smaps  what was read before; empty = nothing
void find_page_use(Arena& arena, const ProcessMemory& process, const Residency& residency, const Rss& rss,
                   std::span<const SmapsEntry> smaps, Regions* regions, PageUse* out) noexcept;

}  // namespace mallard::report
