// SPDX-License-Identifier: Apache-2.0
// Which block belongs to which cell (cells.hpp): a shadow of the address space. Each granule of 64 bytes has
// one word on level 0; a block takes the first level whose word is free, so that memory follows the number of
// blocks: 4 bytes for each 64 of heap where blocks are large, up to 4 for each 8 where they are that small. A
// word is written by the thread that has the block alone; only taking a free one needs a compare-and-swap. No
// lock.
//
// A word is [low bits of the size in its range: 7][8-byte offset in the granule: 3][cell: 22]. Sizes above
// 1024 have more bits: they stand in the level 0 words of the block's next granules, with cell 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "record/size_ranges.hpp"

namespace mallard::record {

inline constexpr unsigned kCellBits = 22;

struct ShadowBlock {
  std::uint32_t cell;
  std::uint32_t low;  ///< the remainder's low bits
};
inline constexpr unsigned kLowBits = 7;

enum class Put : std::uint8_t {
  kNew,
  kReplaced,  ///< a block was there whose free was not seen
  kNoMemory,
};

/// Reserves the table of windows. \return false if the kernel gave no address space \context init
bool shadow_init() noexcept;
/// Forgets all blocks. \context reporter: no thread may put or take meanwhile
void shadow_clear() noexcept;

/// \param remainder  of its size, shorter than `bits`
/// \context hot: lock-free; rarely maps memory
Put shadow_put(std::uintptr_t block, std::uint32_t cell, std::uint64_t remainder, unsigned bits,
               ShadowBlock* replaced) noexcept;
/// \return false if there is no block at that address \context hot
bool shadow_take(std::uintptr_t block, ShadowBlock* taken) noexcept;
/// The bits of the remainder above the word's, which has `bits` in all; takes them out. \context hot
std::uint64_t shadow_take_high(std::uintptr_t block, unsigned bits) noexcept;

/// Calls `take` for each block that begins in [begin, end), ascending; `remainder` as far as `bits_of(cell)`
/// says it goes. Does not commit memory. \context reporter
void shadow_for_each(std::uintptr_t begin, std::uintptr_t end, unsigned (*bits_of)(std::uint32_t cell),
                     void (*take)(std::uintptr_t block, std::uint32_t cell, std::uint64_t remainder,
                                  void* opaque),
                     void* opaque) noexcept;

std::uint64_t shadow_own_bytes() noexcept;  ///< resident \context reporter

}  // namespace mallard::record
