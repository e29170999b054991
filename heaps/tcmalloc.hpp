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

}  // namespace mallard::heaps
