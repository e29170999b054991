// SPDX-License-Identifier: Apache-2.0
// The heap in address order, as plain data.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace mallard::report {

/// Bytes of one cell. What is neither live nor a hole is retained, a header or metadata.
struct HeapCell {
  static constexpr int kCandidates = 4;
  std::uint64_t resident;
  double live, holes;   ///< usable bytes of live blocks; free bytes beside them in their units
  double not_examined;  ///< whose blocks were not looked at
  struct Claim {
    std::uint32_t site;
    float bytes;  ///< 0 = none
  } claims[kCandidates];

  bool known() const noexcept { return not_examined * 2 <= static_cast<double>(resident); }
  /// The largest claim; bytes 0 = no sampled block lies here.
  Claim pinned_by() const noexcept;
};

/// Cells without a gap between them.
struct HeapStretch {
  std::uintptr_t begin;
  std::uint32_t first, count;  ///< indices of cells
};

struct HeapCells {
  std::uint64_t cell_bytes;  ///< cells begin at multiples of it
  std::span<const HeapStretch> stretches;
  std::span<const HeapCell> cells;
  bool divided;  ///< units were met: live and holes mean something
};

inline HeapCell::Claim HeapCell::pinned_by() const noexcept {
  return *std::max_element(claims, claims + kCandidates,
                           [](const Claim& a, const Claim& b) { return a.bytes < b.bytes; });
}

}  // namespace mallard::report
