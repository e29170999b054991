// SPDX-License-Identifier: Apache-2.0
// mimalloc 3: what leads from each slice to the structure of its page.
#pragma once

#include "heaps/heap_reader.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/mimalloc_shapes.hpp"

namespace mallard::heaps {

inline constexpr std::uintptr_t kRegion = 256 << 20;  ///< what one array of slots describes
inline constexpr std::size_t kSlotBytes = 128;
inline constexpr std::uintptr_t kSubmapSpan = std::uintptr_t{512}
                                       << 20;  ///< what one lower part of the map describes

/// Where the word is that leads from the slice of `address` to its page; 0: nobody has allocated near there.
inline std::uintptr_t link_of(PageCopies& copies, const MimallocLayout& layout, std::uintptr_t address) noexcept {
  if (layout.shape->family == MimallocFamily::kSlots)
    return (address & ~(kRegion - 1)) + address % kRegion / kMimallocSlice * kSlotBytes;
  std::uintptr_t submap = 0;
  if (!copies.get(layout.page_map + address / kSubmapSpan * sizeof submap, &submap) || submap == 0 ||
      submap % sizeof submap != 0)
    return 0;
  return submap + address % kSubmapSpan / kMimallocSlice * sizeof submap;
}

}  // namespace mallard::heaps
