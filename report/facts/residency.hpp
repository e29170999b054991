// SPDX-License-Identifier: Apache-2.0
// Which pages are in memory, as the kernel's page tables say. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/model/model.hpp"
#include "base/process_memory.hpp"
#include "report/model/residency_method.hpp"

namespace mallard::report {

/// Neighbouring resident pages of one kind.
struct ResidentRun {
  std::uintptr_t begin, end;
  std::uint64_t before;  ///< resident bytes of all earlier runs
  bool file;             ///< page cache or shared memory, not a private anonymous page
  bool huge;             ///< mapped by a huge page table entry
};

/// Resident runs of the ranges that were scanned, ascending.
class Residency {
 public:
  /// Scans `ranges` (ascending, page-aligned). Ranges that vanish meanwhile are skipped.
  /// \return false if memory is out or no method works
  /// \param best  the method to begin with, for tests; where it does not work, a worse one is used
  bool scan(Arena& arena, const ProcessMemory& process, std::span<const AddressRange> ranges,
            ResidencyMethod best = ResidencyMethod::kPagemapScan) noexcept;

  /// Bytes of [begin, end) that are in memory.
  std::uint64_t resident_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept;
  /// Bytes of all pages in memory that [begin, end) touches.
  std::uint64_t touched_page_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept;

  std::uint64_t private_huge_bytes() const noexcept;  ///< on transparent huge pages, without those of files

  std::span<const ResidentRun> runs() const noexcept { return runs_; }
  ResidencyMethod method() const noexcept { return method_; }
  /// Bytes that were unmapped between the listing and the scan. PAGEMAP_SCAN does not tell, other methods do.
  std::uint64_t vanished_bytes() const noexcept { return vanished_; }

 private:
  std::span<const ResidentRun> runs_;
  ResidencyMethod method_ = ResidencyMethod::kNone;
  std::uint64_t vanished_ = 0;
};

}  // namespace mallard::report
