// SPDX-License-Identifier: Apache-2.0
// The census of a process in which several allocators have a heap each.
#pragma once

#include <span>

#include "base/arena.hpp"
#include "heaps/census.hpp"

namespace mallard::heaps {

/// What of `resident` lies in `ranges`; both ascend.
std::span<const AddressRange> common(Arena& arena, std::span<const AddressRange> resident,
                                     std::span<const AddressRange> ranges) noexcept;

/// One of the heaps.
struct CensusPart {
  CensusResult (*census)(const CensusRequest& request);
  std::span<const AddressRange> ranges;  ///< its memory, ascending; of the heap that the request has
  bool asks_by_block;                    ///< its census looks each block up in exact books: glibc's
};

/// Asks one after the other, and adds up. The first gives the name of the units. Those that look up each block come
/// last: from the first block on, exact books take all units for such.
CensusResult census_of_parts(Arena& arena, std::span<const CensusPart> parts, const CensusRequest& request) noexcept;

}  // namespace mallard::heaps
