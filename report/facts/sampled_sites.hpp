// SPDX-License-Identifier: Apache-2.0
// A copy of the books, as rows of a report. Context: reporter.
#pragma once

#include <cstdint>

#include "base/arena.hpp"
#include "report/divide/exact_shares.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// In exact mode there are too many sites for a row each: `counts` and `shares` hold them all, until the rows
/// are chosen.
struct Books {
  SiteRow* rows = nullptr;
  std::uint32_t row_count = 0;
  bool exact = false;
  const std::uint32_t* row_of = nullptr;      ///< row of a site, kNoRow = none; nullptr: row i is site i
  std::uint32_t site_count = 0;               ///< how many row_of knows
  std::span<const record::LiveBlock> blocks;  ///< samples that were live when their shard was copied
  std::span<record::ExactCounts> counts;      ///< exact mode, by site
  std::span<ExactShare> shares;               ///< the same; account() fills it in
  std::uint64_t read_ns = 0;                  ///< when, CLOCK_MONOTONIC

  static constexpr std::uint32_t kNoRow = UINT32_MAX;
  /// \return nullptr if the site has no row: it was made after the rows were read, or is none of the leading
  SiteRow* find(record::SiteId site) const noexcept {
    const auto id = static_cast<std::uint32_t>(site);
    if (!row_of) return id < row_count ? rows + id : nullptr;
    return id < site_count && row_of[id] != kNoRow ? rows + row_of[id] : nullptr;
  }
};

/// Copies sites and live samples, and sums them up into the rows and the snapshot's totals.
/// \return false if memory is out
bool read_books(Arena& arena, Books* books, Snapshot* out) noexcept;

/// Leaves out row 0 if it is empty, sorts the rows and makes the snapshot's other orders of them.
/// \return the first row that is shown, or nullptr if memory is out
SiteRow* order_sites(Arena& arena, const Books& books, Snapshot* out) noexcept;

/// The same in exact mode, in two steps: counts of all sites and the process's totals before account();
/// rows for those that lead in any order after it. \return false if memory is out
bool read_exact_books(Arena& arena, Books* books, Snapshot* out) noexcept;
bool choose_rows(Arena& arena, Books* books, Snapshot* out) noexcept;

/// The live samples, copied shard by shard, and the counters of the recording. \return no data if memory is out
std::span<const record::LiveBlock> copy_live_samples(Arena& arena, Recording* out) noexcept;
/// Adds a live sample's age to its row. \param weight_so_far  of the row's live samples, this one included
void add_age(SiteRow& row, const record::LiveBlock& block, double weight_so_far,
             std::uint64_t now_ns) noexcept;

}  // namespace mallard::report
