// SPDX-License-Identifier: Apache-2.0
// The census of a jemalloc, whoever loaded it.
#pragma once

#include "heaps/census.hpp"

namespace mallard::heaps {

struct JemallocLayout;

using Mallctl = int(const char* name, void* old, std::size_t* old_bytes, void* fresh,
                    std::size_t fresh_bytes);

/// Where a jemalloc's page map is, and how it is laid out. Neither ever changes.
struct JemallocMap {
  std::uintptr_t root = 0;  ///< 0 = not found yet
  const JemallocLayout* layout = nullptr;
};

/// What a census needs of a jemalloc.
struct JemallocAccess {
  Mallctl* mallctl;  ///< nullptr: it cannot be asked, and the map is known
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
  AddressRange data;    ///< its global variables, which hold the root of its page map
  bool arenas_can_end;  ///< the program can destroy arenas, and unmaps their metadata then
  JemallocMap map{};    ///< what the first census finds out
};
/// Finds the page map of a jemalloc that cannot be asked, by the pages that it describes.
/// \param data   global variables of the object that has it inside
/// \param pages  addresses of pages in memory that may be its own, at most 64
/// \return one without a root, if none describes several of them
JemallocMap find_jemalloc_map(const ProcessMemory& process, AddressRange data,
                              std::span<const std::uintptr_t> pages) noexcept;
/// Whether the map describes the page, or a block of jemalloc's own memory begins there.
bool is_jemallocs(const ProcessMemory& process, const JemallocMap& map, std::uintptr_t page) noexcept;

/// \context reporter
CensusResult jemalloc_census(JemallocAccess& access, const CensusRequest& request) noexcept;

}  // namespace mallard::heaps
