// SPDX-License-Identifier: Apache-2.0
// The counts of exact mode: one row for each call site and size range that occurred, and one for each site.
// Rows are only added, up to a bound, and found and made without a lock, so that signal handlers may. What
// they count comes from the threads' own counts (thread_record.hpp) when those are moved here, or directly
// from threads that have none.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/parts.hpp"
#include "record/exact/size_ranges.hpp"
#include "record/site_table.hpp"

namespace mallard::record {

inline constexpr std::uint32_t kMaxCountRows = 1u << 22;

/// Modulo 2^64: a count may be behind in one place and ahead in another, the sum is right.
struct Counts {
  std::uint64_t allocated_bytes, allocated_count, freed_bytes, freed_count, temporary_count;
};

/// What was counted at a call site for blocks of one size range.
struct alignas(64) CountRow {
  std::uint32_t site;
  RangeId range;
  std::uint32_t next;  ///< next row of the same site; 0 = this is the last
  std::atomic<std::uint64_t> allocated_bytes, allocated_count, freed_bytes, freed_count, temporary_count;
};
static_assert(sizeof(CountRow) == 64);

/// What is live, and the most that was, of a site or of the process.
struct Level {
  std::atomic<std::int64_t> live_bytes, peak_bytes;
  std::atomic<std::uint64_t> largest_bytes;  ///< of one block
  AtPeak at_peak;                            ///< of a site, at the process's peak
};

/// Reserves the tables. \return false if the kernel gave no address space \context init
bool counts_init() noexcept;
/// Gives them back. \context where nothing is booked yet
void counts_release() noexcept;
/// Sets all counts to 0; the rows stay. \context reporter
void counts_clear() noexcept;

/// The row of a site and size range, made if it is new; where the table is full, that of the overflow site.
/// \return 0 if there is no room even there \context hot: lock-free
std::uint32_t find_count_row(SiteId site, RangeId range) noexcept;

CountRow& count_row_at(std::uint32_t row) noexcept;
std::uint32_t count_rows_end() noexcept;                 ///< rows run from 1
std::uint32_t first_count_row_of(SiteId site) noexcept;  ///< 0 = none
std::uint32_t counted_sites_end() noexcept;
Level& level_of(std::uint32_t site) noexcept;  ///< `site` is below counted_sites_end()
Level& process_level() noexcept;
PeakWatch& process_peak() noexcept;  ///< moments when most was live, as far as threads have told

/// Adds counts to a row. \context hot: lock-free
void add_to_count_row(CountRow& row, const Counts& counts) noexcept;
/// Moves what is live by `delta`, on the way of which it was up by `most`. \context hot: lock-free
void add_to_level(Level& level, std::int64_t delta, std::int64_t most) noexcept;
void raise_to(std::atomic<std::uint64_t>& largest, std::uint64_t value) noexcept;
void raise_to(std::atomic<std::int64_t>& largest, std::int64_t value) noexcept;

/// Become copies of another process's; the second, of its rows alone, as many as the first did.
/// \context offline
bool counts_adopt(const OtherParts& parts) noexcept;
bool counts_adopt_again(const OtherParts& parts) noexcept;

std::uint64_t counts_own_bytes() noexcept;  ///< resident \context reporter

}  // namespace mallard::record
