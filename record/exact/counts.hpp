// SPDX-License-Identifier: Apache-2.0
// Cells: one row of counts for each call site and size range that occurred, and one for each site.
// Append-only and bounded; found and made without a lock, so that signal handlers may. Counts come from the
// threads' own (thread_record.hpp) when those are moved here, or directly from whoever has none.
#pragma once

#include <atomic>
#include <cstdint>

#include "record/site_table.hpp"
#include "record/exact/size_ranges.hpp"

namespace mallard::record {

inline constexpr std::uint32_t kMaxCells = 1u << 22;

/// Modulo 2^64: a count may be behind in one place and ahead in another, the sum is right.
struct Counts {
  std::uint64_t allocated_bytes, allocated_count, freed_bytes, freed_count, temporary_count;
};

struct alignas(64) Cell {
  std::uint32_t site;
  RangeId range;
  std::uint32_t next;  ///< of the same site; 0 = the last
  std::uint32_t unused;
  std::atomic<std::uint64_t> allocated_bytes, allocated_count, freed_bytes, freed_count, temporary_count;
};
static_assert(sizeof(Cell) == 64);

/// What is live, and the most that was, of a site or of the process.
struct Level {
  std::atomic<std::int64_t> live_bytes, peak_bytes;
  std::atomic<std::uint64_t> largest_bytes;  ///< block
};

/// Reserves the tables. \return false if the kernel gave no address space \context init
bool cells_init() noexcept;
/// Gives them back. \context where nothing is booked yet
void cells_release() noexcept;
/// All counts 0; the cells stay. \context reporter
void cells_clear() noexcept;

/// The cell of a site and size range, made if it is new; where the table is full, that of the overflow site.
/// \return 0 if there is no room even there \context hot: lock-free
std::uint32_t find_cell(SiteId site, RangeId range) noexcept;

Cell& cell_at(std::uint32_t cell) noexcept;
std::uint32_t cells_end() noexcept;                 ///< cells run from 1
std::uint32_t first_cell_of(SiteId site) noexcept;  ///< 0 = none
std::uint32_t sites_with_cells_end() noexcept;
Level& level_of(std::uint32_t site) noexcept;  ///< of a site below sites_with_cells_end()
Level& process_level() noexcept;

/// Adds counts to a cell. \context hot: lock-free
void add_to_cell(Cell& cell, const Counts& counts) noexcept;
/// Moves what is live by `delta`, on the way of which it was up by `most`. \context hot: lock-free
void add_to_level(Level& level, std::int64_t delta, std::int64_t most) noexcept;
void raise_to(std::atomic<std::uint64_t>& largest, std::uint64_t value) noexcept;
void raise_to(std::atomic<std::int64_t>& largest, std::int64_t value) noexcept;

std::uint64_t cells_own_bytes() noexcept;  ///< resident \context reporter

}  // namespace mallard::record
