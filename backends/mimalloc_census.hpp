// SPDX-License-Identifier: Apache-2.0
// The census of a mimalloc, shared by its versions. They have no call that may be made while other threads
// run (mi_heap_visit_blocks assumes that none does, and misses pages that came from the kernel directly), so
// it is read from the page structures, whose layout is found anew in each process by blocks that we know.
#pragma once

#include "backends/heap_reader.hpp"

namespace mallard::backends {

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

/// Reads a page's thread-free list. Every link has to stay inside the page and on a block boundary; a list
/// that the owner takes over meanwhile ends the walk. \return its length
std::uint64_t thread_free_length(PageCopies& copies, const MimallocPage& page, CensusResult& result) noexcept;

/// Reports the page if it holds live blocks. \param freed blocks known to be free besides the thread-free
/// list
void take_mimalloc_page(PageCopies& copies, const MimallocPage& page, std::uint64_t freed,
                        const CensusRequest& request, CensusResult& result) noexcept;

}  // namespace mallard::backends
