// SPDX-License-Identifier: Apache-2.0
// The map by which mimalloc 3.0 to 3.4 finds its pages lies in memory of its own, which the kernel may have joined
// with somebody else's. Context: offline.
#pragma once

#include "heaps/mimalloc.hpp"
#include "report/facts/memory.hpp"

namespace mallard::outside {

/// Makes the map mimalloc's, whose regions are known already. \return false if there is none, or memory is out:
/// then nothing has changed
bool claim_mimalloc_map(Arena& arena, const heaps::MimallocLayout& layout, report::Memory* memory) noexcept;

}  // namespace mallard::outside
