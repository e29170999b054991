// SPDX-License-Identifier: Apache-2.0
// The census of a mimalloc, shared by its versions. They have no call that may be made while other threads
// run (mi_heap_visit_blocks assumes that none does, and misses pages that came from the kernel directly), so
// it is read from the page structures, whose layout is found anew in each process by blocks that we know.
#pragma once

#include "heaps/heap_reader.hpp"

namespace mallard::heaps {

struct MimallocAccess {
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
};

/// Versions 2.0: segments of 32 MiB that begin with an array of page structures. \context reporter
CensusResult mimalloc2_census(const MimallocAccess& access, const CensusRequest& request) noexcept;
/// Versions 3.6: an array of page structures every 256 MiB. \context reporter
CensusResult mimalloc3_census(const MimallocAccess& access, const CensusRequest& request) noexcept;

inline constexpr std::uintptr_t kMimallocSlice = 64 << 10;  ///< what pages of mimalloc are made of

/// What a page structure says of its page.
struct MimallocPage {
  std::uintptr_t begin, end;  ///< the slices of the page
  std::uint64_t block_bytes;
  std::uint64_t used;          ///< blocks in use or on the thread-free list
  std::uint64_t reserved;      ///< blocks that fit
  std::uintptr_t thread_free;  ///< blocks freed by other threads that the owner has not collected yet
};

/// Reports pages that hold live blocks. Thread-free lists are what takes long. Where there are more of them
/// than the budget allows, pages chosen by a hash of their address, with or without a list, stand for the
/// rest.
class MimallocPages {
 public:
  explicit MimallocPages(const CensusRequest& request) noexcept
      : request_(request), resident_(request.resident) {}

  /// Calls `sweep`, which calls report() for every page: once, or twice where the lists have to be counted
  /// first.
  template <typename Sweep>
  CensusResult run(Sweep sweep) noexcept {
    std::uint64_t resident_bytes = 0;
    for (const AddressRange& r : request_.resident) resident_bytes += r.end - r.begin;
    if (resident_bytes > request_.budget_bytes) {
      counting_ = true;
      sweep();
      counting_ = false;
      result.raced = 0;
      if (request_.budget_bytes > 0) one_in_ += list_bytes_ / request_.budget_bytes;
    }
    sweep();
    result.done = true;
    return result;
  }

  /// Pages should come in ascending order. \param freed blocks known to be free besides the thread-free list
  void report(const MimallocPage& page, std::uint64_t freed) noexcept;
  /// The allocator's books.
  void report_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept {
    if (!counting_) request_.report({begin, end, UnitKind::kMetadata, 0, 0, 0});
  }

  CensusResult result{.unit_name = "page of mimalloc"};

 private:
  std::uint64_t thread_free_length(const MimallocPage& page) noexcept;

  const CensusRequest& request_;
  RangeCursor resident_;
  bool counting_ = false;
  std::uint64_t list_bytes_ = 0;  ///< pages with a thread-free list
  std::uint64_t one_in_ = 1;      ///< so many pages are examined
};

}  // namespace mallard::heaps
