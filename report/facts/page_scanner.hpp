// SPDX-License-Identifier: Apache-2.0
// The kernel's answers to the question which pages of a range are in memory. Context: reporter.
#pragma once

#include <cstdint>

#include "base/arena.hpp"
#include "base/pauses.hpp"
#include "base/process_memory.hpp"
#include "report/facts/resident_runs.hpp"

namespace mallard::report {

struct PageRegion;
struct PagemapScanRequest;

/// Asks in pieces, with pauses between them: the kernel holds the lock of the address space during one call,
/// and a host that maps memory waits for it.
class PageScanner {
 public:
  PageScanner(Arena& arena, const ProcessMemory& process, ResidentRuns& runs) noexcept;
  ~PageScanner();
  PageScanner(const PageScanner&) = delete;
  PageScanner& operator=(const PageScanner&) = delete;

  /// \return the first way, from `best` on, that the kernel has: PAGEMAP_SCAN, pagemap, mincore or none; it
  /// is asked about the first page of all
  ResidencyMethod choose(ResidencyMethod best) noexcept;

  /// Adds the runs of [begin, end), by the way that was chosen. \return false if memory is out
  bool scan(ResidencyMethod method, std::uintptr_t begin, std::uintptr_t end) noexcept;

  /// Adds the runs of a piece of private anonymous memory (at most kSparseBytes) that has hardly any: mincore
  /// takes a fifth of the time that pagemap takes for pages that are not there, and tells where to look.
  /// \return false if memory is out
  bool scan_sparse(ResidencyMethod method, std::uintptr_t begin, std::uintptr_t end) noexcept;
  static constexpr std::uintptr_t kSparseBytes = 128u << 20;

  std::uint64_t vanished() const noexcept { return vanished_; }
  /// Bytes of anonymous pages that pagemap said are there, and shared: with other processes, or the kernel's
  /// page of zeros, which is not in RSS.
  std::uint64_t doubtful() const noexcept { return doubtful_; }

 private:
  PagemapScanRequest request_for(std::uintptr_t begin, std::uintptr_t end) const noexcept;
  long ask(PagemapScanRequest& request) const noexcept;
  bool scan_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept;
  bool read_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept;
  bool ask_mincore(std::uintptr_t begin, std::uintptr_t end) noexcept;
  bool ask_mincore_piece(std::uintptr_t begin, std::size_t pages) noexcept;

  const ProcessMemory& process_;
  ResidentRuns& runs_;
  long fd_;
  Arena& arena_;
  PageRegion* regions_ = nullptr;
  std::uint64_t* entries_ = nullptr;
  unsigned char *present_ = nullptr, *sparse_ = nullptr;
  std::uint64_t vanished_ = 0, doubtful_ = 0;
  Pauses pauses_{150'000};
};

}  // namespace mallard::report
