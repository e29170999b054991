// SPDX-License-Identifier: Apache-2.0
// Who made the blocks that were found lost, and how old they are, as far as the books of the process tell
// that have been adopted: of every block in exact mode, else of those that were sampled. Context: offline.
#pragma once

#include "base/arena.hpp"
#include "outside/block_map.hpp"
#include "report/model/lost.hpp"

namespace mallard::outside {

/// \param blocks  the lost ones are noted \param arena  what `out` points to lives there
/// \return false if there is no memory
bool find_lost_sites(Arena& arena, const BlockMap& blocks, report::LostBlocks* out) noexcept;

}  // namespace mallard::outside
