// SPDX-License-Identifier: Apache-2.0
// Which pages are in memory, as the kernel's page tables say. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/facts/smaps.hpp"
#include "report/model/model.hpp"
#include "report/model/residency_method.hpp"

namespace mallard::report {

/// Neighbouring resident pages of one kind. ResidencyMethod::kSmaps does not know which pages of a file are
/// there: then its mapping has a run of that many pages at its begin.
struct ResidentRun {
  std::uintptr_t begin, end;
  std::uint64_t before;  ///< resident bytes of all earlier runs
  bool file;             ///< page cache or shared memory, not a private anonymous page
  bool huge;             ///< mapped by a huge page table entry
};

/// What is to be scanned: mappings of one content, side by side.
struct ScanRange {
  enum class Content : std::uint8_t {
    kAnonymous,     ///< private anonymous memory
    kInaccessible,  ///< the same without any right: hardly ever in memory
    kFile,          ///< of a file, or shared memory
  };
  std::uintptr_t begin, end;
  Content content;

  constexpr ScanRange(std::uintptr_t from, std::uintptr_t to, Content what = Content::kAnonymous) noexcept
      : begin(from), end(to), content(what) {}
  constexpr explicit(false) ScanRange(AddressRange range) noexcept : ScanRange(range.begin, range.end) {}
};

/// Resident runs of the ranges that were scanned, ascending.
class Residency {
 public:
  /// Scans `ranges` (ascending, page-aligned). Ranges that vanish meanwhile are skipped. Where the kernel
  /// takes time for pages that are not there, large ranges come last, and none is asked once all of RSS is
  /// found.
  /// \return false if memory is out or no method works
  /// \param rss_bytes  the kernel's figure; where it is not known, the largest number
  /// \param best  the method to begin with, for tests; where it does not work, a worse one is used
  bool scan(Arena& arena, const ProcessMemory& process, std::span<const ScanRange> ranges,
            std::uint64_t rss_bytes = ~std::uint64_t{0},
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
  /// Address space that was not asked page by page, because that would have taken too long. Where smaps said
  /// how much of it is in memory, so much is counted, at a place that is not known.
  std::uint64_t unread_bytes() const noexcept { return unread_; }
  /// The kernel's figures by mapping, where the method read them; else empty.
  std::span<const SmapsEntry> smaps() const noexcept { return smaps_; }

 private:
  std::span<const ResidentRun> runs_;
  std::span<const SmapsEntry> smaps_;
  ResidencyMethod method_ = ResidencyMethod::kNone;
  std::uint64_t vanished_ = 0, unread_ = 0;
};

}  // namespace mallard::report
