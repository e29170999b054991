// SPDX-License-Identifier: Apache-2.0
// One mapping may have several owners: the kernel joins what lies side by side. Context: offline.
#pragma once

#include <span>
#include <string_view>

#include "report/facts/memory.hpp"

namespace mallard::outside {

/// Cuts the anonymous regions that are nobody's yet at the ends of `pieces`, and says that these are
/// `allocator`'s. What was counted of a region (what is shared, lazily freed or dirty) is divided by what is
/// in memory of its parts. \param pieces  ascending, apart from each other, page-aligned \return false if
/// memory is out: then nothing has changed
bool cut_regions(Arena& arena, std::span<const AddressRange> pieces, std::string_view allocator,
                 report::Memory* memory) noexcept;

}  // namespace mallard::outside
