// SPDX-License-Identifier: Apache-2.0
// How glibc 2.31 to 2.41 lays out its heap where a word has 64 bits: facts of its malloc/malloc.c and
// malloc/arena.c, for the census that walks the heap and for the report that looks for heaps in memory which
// nobody was seen to map.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"

namespace mallard::heaps::glibc {

/// A chunk begins with {size of the previous chunk if that is free, own size | flags}; its block begins 16
/// bytes in and reaches 8 bytes into the next chunk.
struct ChunkHeader {
  std::uint64_t previous_bytes, size_and_flags;
  std::uint64_t size() const noexcept { return size_and_flags & ~std::uint64_t{7}; }
  std::uint64_t flags() const noexcept { return size_and_flags & 7; }
};
inline constexpr std::uint64_t kPreviousInUse = 1, kMapped = 2, kNotMainArena = 4, kFlags = 7;
inline constexpr std::uint64_t kSmallestChunk = 32, kFencepost = 16, kChunkAlignment = 16;
inline constexpr std::uint64_t kLargestCached = 1040;    ///< chunk size up to which thread caches keep blocks
inline constexpr std::uint64_t kLargestFast = 176;       ///< the same for fastbins, at the largest M_MXFAST
inline constexpr std::uint64_t kThreadCacheChunk = 656;  ///< of a tcache_perthread_struct
inline constexpr int kCacheSizes = 64;                   ///< bins of a thread cache
inline constexpr std::size_t kArenaStateBytes = 2200;    ///< of a malloc_state
inline constexpr std::size_t kArenaTopOffset = 96;       ///< in it: the address of the top chunk
inline constexpr std::size_t kArenaThreadsOffset = 2176;  ///< in it: how many threads use the arena
inline constexpr std::size_t kHeapAlignment = 1u << 20;   ///< the least that heaps of other arenas have
inline constexpr std::size_t kHeapBytes = 64u << 20;      ///< HEAP_MAX_SIZE: the most that such a heap has

constexpr bool is_whole_pages(std::uint64_t bytes) noexcept { return bytes != 0 && bytes % kPageBytes == 0; }

/// heap_info, which begins a heap of another arena. Since glibc 2.35 it is 48 bytes long, before 32. The
/// first heap of an arena goes on with the arena's malloc_state.
struct HeapInfo {
  std::uintptr_t arena, previous;
  std::uint64_t bytes, accessible_bytes;

  std::uintptr_t info_bytes() const noexcept { return arena % kHeapAlignment; }
  bool is_first(std::uintptr_t at) const noexcept { return arena == at + info_bytes(); }
  std::uintptr_t first_chunk(std::uintptr_t at) const noexcept {
    return align_up(at + info_bytes() + (is_first(at) ? kArenaStateBytes : 0), kChunkAlignment);
  }
  /// Whether a heap of an arena that begins at `at` may begin with these words.
  bool is_at(std::uintptr_t at) const noexcept {
    return at % kHeapAlignment == 0 && (info_bytes() == 32 || info_bytes() == 48) &&
           previous % kHeapAlignment == 0 && (previous == 0) == is_first(at) && is_whole_pages(bytes) &&
           is_whole_pages(accessible_bytes) && bytes <= accessible_bytes;
  }
};

/// A block that malloc mapped by itself; `end` 0 = there is none.
struct MappedBlock {
  std::uintptr_t chunk, end;
};

/// The block in the mapping that begins at `at` and ends at `limit` at the latest. It begins with {0, size |
/// kMapped}. An aligned one begins later, and keeps the distance in the word before its size: realloc brings
/// only that header up to date, and may have left the first one with a size that is too large or too small.
/// \param copy  bool(std::uintptr_t from, ChunkHeader* to)
template <class Copy>
MappedBlock find_mapped_block(Copy copy, std::uintptr_t at, std::uintptr_t limit) noexcept {
  ChunkHeader head;
  if (!copy(at, &head) || head.previous_bytes != 0 || head.flags() != kMapped || !is_whole_pages(head.size()))
    return {};
  const MappedBlock plain = head.size() <= limit - at ? MappedBlock{at, at + head.size()} : MappedBlock{};
  for (std::uintptr_t alignment = 2 * kChunkAlignment; alignment < limit - at; alignment *= 2) {
    std::uintptr_t chunk = align_up(at + sizeof head, alignment) - sizeof head;
    if (chunk - at < kSmallestChunk) chunk += alignment;
    if (chunk + sizeof head > limit || !copy(chunk, &head) || head.previous_bytes != chunk - at) continue;
    if (head.flags() == kMapped && head.size() != 0 && head.size() <= limit - chunk &&
        (chunk + head.size()) % kPageBytes == 0)
      return {chunk, chunk + head.size()};
  }
  return plain;
}

}  // namespace mallard::heaps::glibc
