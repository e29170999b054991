// SPDX-License-Identifier: Apache-2.0
// What a report copies from record: call sites, live samples and, in exact mode, the counts of every site. It
// is filled in by report/facts, and divided, compared and judged from there on.
#pragma once

#include "report/model/model.hpp"

namespace mallard::report {

/// Bytes in memory that one call site has a share of: resident >= live + holes. `alone` is on units that
/// have no other site's blocks.
struct ExactShare {
  double resident, live, holes;
  double alone, alone_holes;
};

/// In exact mode there are too many sites for a row each: `counts` and `shares` hold them all, until the rows
/// are chosen.
struct RecordCopy {
  SiteRow* rows = nullptr;
  std::uint32_t row_count = 0;
  bool exact = false;
  const std::uint32_t* row_of = nullptr;      ///< row of a site, kNoRow = none; nullptr: row i is site i
  std::uint32_t site_count = 0;               ///< how many row_of knows
  std::span<const record::LiveBlock> blocks;  ///< samples that were live when their shard was copied
  std::span<record::ExactCounts> counts;      ///< exact mode, by site
  std::span<ExactShare> shares;               ///< exact mode, by site; report/divide fills it in
  std::uint64_t read_ns = 0;                  ///< when it was made, CLOCK_MONOTONIC

  static constexpr std::uint32_t kNoRow = UINT32_MAX;
  std::span<SiteRow> all_rows() const noexcept { return {rows, row_count}; }
  /// \return nullptr if the site has no row: it was made after the rows were read, or is none of the leading
  SiteRow* find(record::SiteId site) const noexcept {
    const auto id = static_cast<std::uint32_t>(site);
    if (!row_of) return id < row_count ? rows + id : nullptr;
    return id < site_count && row_of[id] != kNoRow ? rows + row_of[id] : nullptr;
  }
};

}  // namespace mallard::report
