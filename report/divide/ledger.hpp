// SPDX-License-Identifier: Apache-2.0
// Every resident byte under one cause. Pure functions on what was read before. Context: reporter.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "heaps/census.hpp"
#include "report/divide/sampled_division.hpp"
#include "report/facts/regions.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

struct LedgerSources {
  std::span<const Region> regions;    ///< ascending
  std::span<const ResidentRun> runs;  ///< ascending
  Rss before, after;                  ///< the kernel's figures around the scan
  const HeapTotals* heap;  ///< nullptr: the allocator could not be asked; `not_divided_why` says why
  const char* not_divided_why;
  bool program_gives_back = false;  ///< the allocator never calls madvise(MADV_FREE): who does is the program
  bool files_told = true;  ///< a run says truly whether its pages are of a file
};

/// The mappings of the allocator that serves, and what of them is in memory, neighbours joined.
struct HeapRanges {
  std::span<const AddressRange> mapped, resident;
  std::uint64_t resident_bytes;
};
bool heap_ranges(Arena& arena, std::span<const Region> regions, std::span<const ResidentRun> runs,
                 HeapRanges* out) noexcept;

/// Fills in lines, details and sums; leaves alone what the caller knows better (unit, times, races).
/// \return false if memory is out
bool build_ledger(Arena& arena, const LedgerSources& sources, Ledger* out) noexcept;

}  // namespace mallard::report
