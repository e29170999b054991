// SPDX-License-Identifier: Apache-2.0
// What of transparent huge pages holds nothing but zeros, as plain data.
#pragma once

#include <cstdint>
#include <string_view>

#include "report/model/causes.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

/// Parts of 4 KiB that hold only zeros, of huge pages that hold something else as well: memory that came with
/// the rest of its huge page and was never touched, or that the program itself filled with zeros: private
/// anonymous memory, without mallard's own. A huge page of zeros alone is not among them: somebody wrote it.
struct HugeZeros {
  bool known;                         ///< false: `why_not` says why, or the heap could not be looked at
  const char* why_not;                ///< a clause, or nullptr
  bool everywhere;                    ///< the kernel gives huge pages to all processes, asked for or not
  std::uint64_t huge_bytes;           ///< on huge pages
  Estimate bytes;                     ///< an interval where not every huge page was looked at
  double in_line[kCauseCount];        ///< of `bytes`, by the ledger's line that has them
  std::string_view owner, allocator;  ///< who mapped most of those that are not in the heap; see LedgerDetail
};

}  // namespace mallard::report
