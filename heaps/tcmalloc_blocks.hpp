// SPDX-License-Identifier: Apache-2.0
// The blocks of gperftools' tcmalloc one by one: those of a span that are not on its list of free ones, less
// those in the caches of threads and between them. Context: offline.
#pragma once

#include "heaps/heap_reader.hpp"
#include "heaps/tcmalloc_pages.hpp"

namespace mallard::heaps {

class TcmallocBlocks {
 public:
  TcmallocBlocks(const TcmallocFound& found, const CensusRequest& request) noexcept;

  void report_span(const TcmallocSpan& span) noexcept;
  /// Takes the blocks in caches out again. \context after all spans
  void take_out_cached() noexcept;

 private:
  bool find_free(const TcmallocSpan& span, std::uintptr_t begin, std::uint64_t blocks, std::uint64_t each) noexcept;
  void take_out_of_threads() noexcept;
  void take_out_between() noexcept;
  void take_out_list(std::uintptr_t head_at, std::uint64_t length) noexcept;
  bool follow(std::uintptr_t head_at, std::uint64_t length) noexcept;

  static constexpr std::uint64_t kMostBlocks = 32 << 10;  ///< of a span; pages of 256 KiB have as many of 8 bytes

  const TcmallocFound& found_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  RangeCursor resident_;
  std::uint64_t free_[kMostBlocks / 64];
};

}  // namespace mallard::heaps
