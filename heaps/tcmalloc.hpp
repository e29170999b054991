// SPDX-License-Identifier: Apache-2.0
// The census of gperftools' tcmalloc.
#pragma once

#include "heaps/census.hpp"

namespace mallard::heaps {

/// Where a tcmalloc's page map is, and how it is laid out. Neither ever changes.
struct TcmallocMap {
  std::uintptr_t root = 0;  ///< 0 = not found yet
  unsigned page_shift = 0;  ///< log2 of tcmalloc's own page size
  unsigned levels = 0;      ///< tables from the root to the pages
};

inline constexpr unsigned kMaxSpanClasses = 256;

/// What was found of a tcmalloc that cannot be asked.
struct TcmallocFound {
  TcmallocMap map;
  std::uint64_t class_bytes[kMaxSpanClasses];  ///< by class; 0 = there is no such class
  std::int32_t moved[128];                     ///< blocks of an entry of a transfer cache, by class
  std::uintptr_t first_cache;                  ///< of threads; 0 = not found
  std::uint64_t next_in_cache;                 ///< offset; 0 = there is one cache
  std::uintptr_t first_transfer;               ///< counts of the transfer cache of class 1; 0 = not found
  std::uint64_t transfer_stride;
};

/// \param data  its global variables \param pages  in memory, some of them its own \context offline
bool find_tcmalloc(const ProcessMemory& process, AddressRange data, std::span<const std::uintptr_t> pages,
                   TcmallocFound* out) noexcept;
/// Whether a page is of a span, used or free. \context offline
bool is_tcmallocs(const ProcessMemory& process, const TcmallocFound& found, std::uintptr_t page) noexcept;
/// Free blocks in the caches of threads and between them. \context offline
std::uint64_t cached_in(const ProcessMemory& process, const TcmallocFound& found) noexcept;

/// What a census needs of a tcmalloc.
struct TcmallocAccess {
  int (*property)(const char* name, std::size_t* value);         ///< 0 = it does not know the name
  std::size_t (*rounded_size)(std::size_t bytes, int no_flags);  ///< what a block of `bytes` can hold
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
  AddressRange data;  ///< its global variables, which hold the root of its page map
  TcmallocMap map{};  ///< what the first census finds out
};
/// \context reporter
CensusResult tcmalloc_census(TcmallocAccess& access, const CensusRequest& request) noexcept;
/// \context offline
CensusResult tcmalloc_census(const TcmallocFound& found, const CensusRequest& request) noexcept;

}  // namespace mallard::heaps
