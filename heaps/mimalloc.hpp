// SPDX-License-Identifier: Apache-2.0
// The census of a mimalloc 2 or 3, whoever loaded it. It has no call that may be made while other threads run
// (mi_heap_visit_blocks assumes that none does, and misses pages of other threads), so it is read from the
// structures that describe its pages. Which of the known layouts they have is found out in each process by
// blocks that we allocate; a layout that none of them confirms gets no census.
#pragma once

#include "heaps/census.hpp"

namespace mallard::heaps {

struct MimallocShape;

/// What the census has found out about a mimalloc; it stays true as long as the process lives.
struct MimallocLayout {
  const MimallocShape* shape = nullptr;  ///< nullptr: nothing yet
  std::size_t first = 0;                 ///< version 2: the array of structures, from a segment's beginning
  std::uintptr_t page_map = 0;           ///< versions 3.0 to 3.4: the map's upper level
};

/// What a census needs of a mimalloc.
struct MimallocAccess {
  void* (*malloc)(std::size_t);  ///< nullptr: it cannot be asked, and the layout is known
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
  AddressRange data;  ///< its global variables, one of which points to the page map
  MimallocLayout layout{};
};

/// Finds the layout of a mimalloc that cannot be asked for blocks, by the pages that it describes.
/// \param data   global variables of the object that has it inside
/// \param pages  addresses of pages in memory that may be its own
/// \return one without a shape, if none describes several of its pages, or two do
MimallocLayout find_mimalloc_layout(const ProcessMemory& process, AddressRange data,
                                    std::span<const std::uintptr_t> pages) noexcept;
/// Whether the page lies in memory that is laid out so.
bool is_mimallocs(const ProcessMemory& process, const MimallocLayout& layout, std::uintptr_t page) noexcept;

/// Calls `visit` for each piece of memory that leads to pages of `heap` and lies apart from them: the map of
/// versions 3.0 to 3.4. Pieces may come twice. \context offline
void each_mimalloc_map(const ProcessMemory& process, const MimallocLayout& layout, AddressRange heap,
                       void (*visit)(AddressRange piece, void* opaque), void* opaque) noexcept;

/// \context reporter
CensusResult mimalloc_census(MimallocAccess& access, const CensusRequest& request) noexcept;

}  // namespace mallard::heaps
