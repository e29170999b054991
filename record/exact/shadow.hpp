// SPDX-License-Identifier: Apache-2.0
// Which block belongs to which row (counts.hpp): a shadow of the address space. Each granule of 64 bytes has
// one word on level 0; a block takes the first level whose word is free, so that memory follows the number of
// blocks: 4 bytes for each 64 of heap where blocks are large, up to 4 for each 8 where they are that small. A
// word is written by the thread that has the block alone; only taking a free one needs a compare-and-swap. No
// lock.
//
// A word is [low bits of the size in its range: 7][8-byte offset in the granule: 3][row: 22]. Sizes above
// 1024 have more bits: they stand in the level 0 words of the block's next granules, with row 0.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/unlocked.hpp"
#include "base/attributes.hpp"
#include "base/parts.hpp"
#include "base/threads.hpp"
#include "record/exact/size_ranges.hpp"

namespace mallard::record {

inline constexpr unsigned kRowBits = 22;

struct ShadowBlock {
  std::uint32_t row;
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
/// Gives it back. \context where nothing is booked yet
void shadow_release() noexcept;
/// Forgets all blocks. \context reporter: no thread may put or take meanwhile
void shadow_clear() noexcept;

namespace shadow {

using Word = std::uint32_t;
using AtomicWord = std::atomic<Word>;

inline constexpr unsigned kGranuleShift = 6, kWindowShift = 28, kAddressBits = 47;
inline constexpr std::size_t kWindows = std::size_t{1} << (kAddressBits - kWindowShift);
inline constexpr std::size_t kWindowWords = std::size_t{1} << (kWindowShift - kGranuleShift);
inline constexpr unsigned kLevels = 8;  // a granule has 8 places where a block can begin
inline constexpr Word kRowMask = (Word{1} << kRowBits) - 1;
inline constexpr Word kOffsetMask = Word{7} << kRowBits;
inline constexpr unsigned kLowShift = kRowBits + 3;

struct Window {
  std::atomic<AtomicWord*> levels[kLevels];  // made in order
};
extern Window* g_windows;

constexpr std::size_t granule_of(std::uintptr_t block) noexcept {
  return (block >> kGranuleShift) & (kWindowWords - 1);
}
constexpr Word offset_of(std::uintptr_t block) noexcept {
  return static_cast<Word>((block >> 3) & 7) << kRowBits;
}
/// The block's word on level 0; nullptr: there is no such level.
inline AtomicWord* first_word(std::uintptr_t block) noexcept {
  const std::size_t index = block >> kWindowShift;
  if (MALLARD_UNLIKELY(index >= kWindows)) return nullptr;
  AtomicWord* table = g_windows[index].levels[0].load(std::memory_order_acquire);
  return MALLARD_LIKELY(table != nullptr) ? &table[granule_of(block)] : nullptr;
}
/// Takes a word that no block has. Threads that book neighbours may want the same one; in a process of one
/// thread only a signal handler can, and cannot interrupt an instruction: it need not lock the bus.
/// \return false if it is not free
inline bool take_word(AtomicWord& word, Word mine) noexcept {
  if (MALLARD_LIKELY(single_threaded())) return arch::take_unlocked(word, mine);
  Word free = 0;
  return word.compare_exchange_strong(free, mine, std::memory_order_release, std::memory_order_relaxed);
}
Put put_further(std::uintptr_t block, Word mine, ShadowBlock* replaced) noexcept;
bool take_further(std::uintptr_t block, ShadowBlock* taken) noexcept;
bool put_high(std::uintptr_t block, std::uint64_t high, unsigned bits) noexcept;

}  // namespace shadow

/// Fetches what booking the block will need, while its stack is captured. \return the word, for
/// shadow_put_at()
/// \context hot
inline shadow::AtomicWord* shadow_expect(std::uintptr_t block) noexcept {
  shadow::AtomicWord* word = shadow::first_word(block);
  __builtin_prefetch(word, 1);
  return word;
}

/// Does what shadow_put() does in the plain case, where the remainder has kLowBits at most.
/// \return false if nothing was done \context hot
inline bool shadow_put_at(shadow::AtomicWord* word, std::uintptr_t block, std::uint32_t row,
                          std::uint64_t remainder) noexcept {
  using namespace shadow;
  if (MALLARD_UNLIKELY(!word || block & 7)) return false;
  return MALLARD_LIKELY(word->load(std::memory_order_relaxed) == 0) &&
         take_word(*word, (static_cast<Word>(remainder) << kLowShift) | offset_of(block) | row);
}

/// Puts the block down with its size. \param remainder  of its size, shorter than `bits`
/// \context hot: lock-free; rarely maps memory
inline Put shadow_put(std::uintptr_t block, std::uint32_t row, std::uint64_t remainder, unsigned bits,
                      ShadowBlock* replaced) noexcept {
  using namespace shadow;
  if (MALLARD_UNLIKELY(bits > kLowBits) && !put_high(block, remainder >> kLowBits, bits - kLowBits))
    return Put::kNoMemory;
  return put_further(block, (static_cast<Word>(remainder) << kLowShift) | offset_of(block) | row, replaced);
}

/// Takes the block off. \return false if there is no block at that address \context hot
inline bool shadow_take(std::uintptr_t block, ShadowBlock* taken) noexcept {
  using namespace shadow;
  AtomicWord* word = first_word(block);
  if (MALLARD_UNLIKELY(!word)) return false;
  const Word there = word->load(std::memory_order_relaxed);
  if (!(there & kRowMask) || (there & kOffsetMask) != offset_of(block)) return take_further(block, taken);
  // Nobody else writes a word that a block has taken: a plain store.
  word->store(0, std::memory_order_relaxed);
  *taken = {there & kRowMask, there >> kLowShift};
  return true;
}

/// Takes out the bits of the remainder that the word has no room for. \param bits  of the remainder in all
/// \context hot
std::uint64_t shadow_take_high(std::uintptr_t block, unsigned bits) noexcept;

/// Calls `visit` for each block that begins in [begin, end), ascending; `remainder` as far as `bits_of(row)`
/// says it goes. Does not commit memory. \context reporter
void shadow_for_each(std::uintptr_t begin, std::uintptr_t end, unsigned (*bits_of)(std::uint32_t row),
                     void (*visit)(std::uintptr_t block, std::uint32_t row, std::uint64_t remainder,
                                   void* opaque),
                     void* opaque) noexcept;

/// The shadow of another process is read from now on, page by page when it is asked for.
/// \param parts  must last as long as that \context offline
bool shadow_adopt(const OtherParts& parts) noexcept;

std::uint64_t shadow_own_bytes() noexcept;  ///< resident \context reporter

}  // namespace mallard::record
