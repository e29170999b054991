// SPDX-License-Identifier: Apache-2.0
// A copy of the books, as rows of a report. Context: reporter.
#pragma once

#include <cstdint>

#include "report/arena.hpp"
#include "report/model.hpp"

namespace mallard::report {

struct Books {
  SiteRow* rows;  ///< indexed by site
  std::uint32_t row_count;
  const record::LiveBlock* blocks;  ///< samples that were live when their shard was copied
  std::uint32_t block_count;
};

/// Copies sites and live samples, and sums them up into the rows and the snapshot's totals.
/// \return false if memory is out
bool read_books(Arena& arena, Books* books, Snapshot* out) noexcept;

/// Leaves out row 0 if it is empty, sorts the rows and makes the snapshot's other orders of them.
/// \return the first row that is shown, or nullptr if memory is out
SiteRow* order_sites(Arena& arena, const Books& books, Snapshot* out) noexcept;

}  // namespace mallard::report
