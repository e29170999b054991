// SPDX-License-Identifier: Apache-2.0
// How glibc 2.31 to 2.43 lays out its heap where a word has 64 bits: facts of its malloc/malloc.c and
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
inline constexpr int kOldest = 31, kNewest = 43;  ///< of the glibc 2.x whose heap is known
inline constexpr std::size_t kHeapAlignment = 1u << 20;   ///< the least that heaps of other arenas have
inline constexpr std::size_t kHeapBytes = 64u << 20;      ///< HEAP_MAX_SIZE: the most that such a heap has

/// A malloc_state; where its fields lie in it.
struct ArenaState {
  std::size_t bytes;
  std::size_t fastbins_at;  ///< 0 = there are none
  std::size_t top_at, bins_at, next_at;
  std::size_t threads_at;  ///< how many threads use the arena
};

/// What differs between versions.
struct Layout {
  ArenaState arena;
  int cache_sizes;             ///< bins of a thread cache
  bool counts_free_slots;      ///< it counts how many more blocks each bin takes, not how many there are
  std::uint64_t largest_cached;  ///< chunk size up to which thread caches may keep blocks
  std::uint64_t largest_fast;    ///< the same for fastbins, at the largest M_MXFAST

  /// The chunk of a tcache_perthread_struct.
  constexpr std::uint64_t thread_cache_chunk() const noexcept {
    return align_up(static_cast<std::uint64_t>(cache_sizes) * 10 + 8, kChunkAlignment);
  }
};
inline constexpr int kSmallCacheSizes = 64, kMostCacheSizes = 76;
inline constexpr std::uint64_t kLargestSmallCached = 1040;  ///< of the first kSmallCacheSizes bins, 16 bytes apart

constexpr Layout layout_of(int minor) noexcept {
  constexpr ArenaState kWithFastbins = {2200, 16, 96, 112, 2160, 2176}, kWithout = {2112, 0, 8, 24, 2072, 2088};
  // Since 2.42 twelve more bins, each for chunks up to twice as large as the one before, up to 4 MiB
  // (glibc.malloc.tcache_max); 2.43 has no fastbins any more.
  constexpr std::uint64_t kLargestOfAll = (4u << 20) - kChunkAlignment;
  if (minor < 42) return {kWithFastbins, kSmallCacheSizes, false, kLargestSmallCached, 176};
  if (minor < 43) return {kWithFastbins, kMostCacheSizes, true, kLargestOfAll, 176};
  return {kWithout, kMostCacheSizes, true, kLargestOfAll, 0};
}

constexpr bool is_whole_pages(std::uint64_t bytes) noexcept { return bytes != 0 && bytes % kPageBytes == 0; }

/// heap_info, which begins a heap of another arena. Since glibc 2.35 it is 48 bytes long, before 32. The
/// first heap of an arena goes on with the arena's malloc_state.
struct HeapInfo {
  std::uintptr_t arena, previous;
  std::uint64_t bytes, accessible_bytes;

  std::uintptr_t info_bytes() const noexcept { return arena % kHeapAlignment; }
  bool is_first(std::uintptr_t at) const noexcept { return arena == at + info_bytes(); }
  std::uintptr_t first_chunk(std::uintptr_t at, const ArenaState& state) const noexcept {
    return align_up(at + info_bytes() + (is_first(at) ? state.bytes : 0), kChunkAlignment);
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
  std::uint64_t usable;
};

/// The block in the mapping that begins at `at` and ends at `limit` at the latest. It begins with {0, size |
/// kMapped}. An aligned one begins later, and keeps the distance in the word before its size: realloc brings
/// only that header up to date, and may have left the first one with a size that is too large or too small.
/// Since glibc 2.43 the size ends 16 bytes before the mapping does, as if another chunk came.
/// \param copy  bool(std::uintptr_t from, ChunkHeader* to)
template <class Copy>
MappedBlock find_mapped_block(Copy copy, std::uintptr_t at, std::uintptr_t limit) noexcept {
  ChunkHeader head;
  if (!copy(at, &head) || head.previous_bytes != 0 || head.flags() != kMapped) return {};
  const std::uint64_t tail = is_whole_pages(head.size()) ? 0 : sizeof head;
  if (!is_whole_pages(head.size() + tail)) return {};
  // The word behind a chunk is its block's where another one comes.
  const auto block = [tail](std::uintptr_t chunk, std::uint64_t size) {
    return MappedBlock{chunk, chunk + size + tail, size - (tail ? 8 : 16)};
  };
  const MappedBlock plain = head.size() + tail <= limit - at ? block(at, head.size()) : MappedBlock{};
  for (std::uintptr_t alignment = 2 * kChunkAlignment; alignment < limit - at; alignment *= 2) {
    std::uintptr_t chunk = align_up(at + sizeof head, alignment) - sizeof head;
    if (!tail && chunk - at < kSmallestChunk) chunk += alignment;
    if (chunk + sizeof head > limit || !copy(chunk, &head) || head.previous_bytes != chunk - at) continue;
    if (head.flags() == kMapped && head.size() > sizeof head && head.size() + tail <= limit - chunk &&
        (chunk + head.size() + tail) % kPageBytes == 0)
      return block(chunk, head.size());
  }
  return plain;
}

}  // namespace mallard::heaps::glibc
