// SPDX-License-Identifier: Apache-2.0
// Which parts of transparent huge pages hold only zeros. The kernel does not count them: they are read.
// Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "report/facts/memory.hpp"

namespace mallard::report {

/// Pages of 4 KiB that hold only zeros, of huge pages of private anonymous memory that hold something else,
/// too.
struct HugeTails {
  bool known = false;
  const char* why_not = nullptr;        ///< one clause, where it is not known
  bool everywhere = false;              ///< huge pages come without being asked for
  std::uint64_t huge_bytes = 0;         ///< on huge pages, without mallard's own
  std::uint64_t looked_at = 0;          ///< of them: read
  std::span<const AddressRange> zeros;  ///< ascending, within what was read
  double variance = 0;                  ///< of the sum of `zeros`, scaled up to all huge pages
  /// What a byte of `zeros` stands for.
  double scale() const noexcept {
    return looked_at > 0 ? static_cast<double>(huge_bytes) / static_cast<double>(looked_at) : 1;
  }
};

/// Reads huge pages, spread evenly over all, as long as the time lasts. Below 16 MiB of huge pages none is
/// read: there are no zeros worth naming. \param budget_ns  time of work
void find_huge_tails(Arena& arena, const Memory& memory, std::uint64_t budget_ns, HugeTails* out) noexcept;

/// Bytes of `zeros` within [begin, end).
std::uint64_t bytes_within(std::span<const AddressRange> zeros, std::uintptr_t begin,
                           std::uintptr_t end) noexcept;

}  // namespace mallard::report
