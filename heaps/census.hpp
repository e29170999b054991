// SPDX-License-Identifier: Apache-2.0
// A census of the allocator's heap, for the ledger: which memory holds live blocks, which is the allocator's
// own. The host runs on meanwhile: what a census says of memory that changes under it is a moment old, never
// a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/process_memory.hpp"

namespace mallard::heaps {

enum class UnitKind : std::uint8_t {
  kBlocks,       ///< holds live blocks: can go back to the kernel only when they are all freed
  kMetadata,     ///< the allocator's own bookkeeping
  kNotExamined,  ///< left out to keep the census short; samples inside count for the examined ones
};

/// The smallest piece of memory that an allocator can give back as a whole: a slab or large extent of
/// jemalloc, a page of mimalloc, 4 KiB of glibc's heap. Pieces without a live block are not reported: they
/// are free.
struct Unit {
  std::uintptr_t begin, end;  ///< any alignment; units do not overlap
  UnitKind kind;
  std::uint64_t block_bytes;     ///< size class of the blocks; 0 = various sizes
  std::uint64_t live_bytes;      ///< usable bytes of the live blocks, as far as they lie in [begin, end)
  std::uint64_t overhead_bytes;  ///< headers between the blocks
  /// mimalloc: no thread owns the page any more. None allocates from it before it has taken it over.
  bool ownerless = false;
};

/// What the counts of exact mode say of a block that looks live.
enum class Booked : std::uint8_t { kUnknown, kLive, kFree };

/// The blocks of exact mode, for an allocator whose heap is walked block by block. The census reports a block
/// before the unit in which the block begins.
struct ExactBlocks {
  /// Addresses ascend, as far as a heap is walked in one go.
  Booked (*look_up)(std::uintptr_t block, void* opaque);
  /// The block that was looked up last counts as live.
  void (*on_live)(std::uintptr_t block, std::uint64_t usable_bytes, void* opaque);
  /// The block that was looked up last is free by the counts, and live by the allocator's own marks.
  void (*on_disputed)(std::uint64_t usable_bytes, void* opaque);
};

struct CensusRequest {
  const ProcessMemory& process;        ///< whose heap it is
  std::span<const AddressRange> heap;  ///< mapped memory of the allocator, ascending
  /// The part of the heap that is in memory, ascending. Other pages must not be read: that would bring them
  /// in.
  std::span<const AddressRange> resident;
  std::span<const std::uintptr_t> sampled_blocks;   ///< blocks that were live a moment ago, ascending
  std::uint64_t budget_bytes;                       ///< how much of the heap may be read to find the blocks
  void (*on_unit)(const Unit& unit, void* opaque);  ///< called for each unit, in no particular order
  void* opaque;
  const ExactBlocks* exact = nullptr;  ///< where exact mode counts every block
  /// Where somebody wants the live blocks one by one; blocks of 8 bytes and more, at multiples of 8.
  /// `is_sure` false: memory in which blocks cannot be told, or not whether they are free.
  void (*on_block)(std::uintptr_t begin, std::uint64_t usable_bytes, bool is_sure, void* opaque) = nullptr;
  /// Beside it: a block that was reported, or lies in one that is not sure, is free after all, in a cache.
  void (*on_cached)(std::uintptr_t begin, void* opaque) = nullptr;

  void report(const Unit& unit) const noexcept { on_unit(unit, opaque); }
  void report_block(std::uintptr_t begin, std::uint64_t usable_bytes, bool is_sure = true) const noexcept {
    if (on_block) on_block(begin, usable_bytes, is_sure, opaque);
  }
};

/// Free memory by what would give it back. Resident bytes; 0 where the allocator has nothing of the kind.
struct FreeMemory {
  std::uint64_t main_top = 0;      ///< glibc: the top of the main heap
  std::uint64_t top_excess = 0;    ///< glibc: of all tops, beyond kTrimThreshold each
  std::uint64_t in_arenas = 0;     ///< glibc: in arenas beside the main one, holes and tops included
  std::uint64_t large_free = 0;    ///< glibc: whole pages in free pieces of kTrimThreshold and more, no tops
  std::uint64_t cached = 0;        ///< glibc: blocks in thread caches, all bytes of them
  std::uint64_t cached_pages = 0;  ///< glibc: whole pages that only blocks in thread caches keep from a trim
  std::uint64_t kept_pages = 0;  ///< mimalloc: pages without a live block that a thread's heap has not let go
  std::uint64_t uncollected =
      0;  ///< mimalloc: blocks that other threads freed and the owner has not taken back

  /// glibc's thresholds for giving a top back and for mapping a block by itself, until blocks that were
  /// mapped and freed raise them.
  static constexpr std::uint64_t kTrimThreshold = 128 << 10;

  FreeMemory& operator+=(const FreeMemory& other) noexcept {
    main_top += other.main_top;
    top_excess += other.top_excess;
    in_arenas += other.in_arenas;
    large_free += other.large_free;
    cached += other.cached;
    cached_pages += other.cached_pages;
    kept_pages += other.kept_pages;
    uncollected += other.uncollected;
    return *this;
  }
};

struct CensusResult {
  bool done;              ///< false: this allocator or version cannot be asked; `why_not` says why
  const char* why_not;    ///< one clause, lower case
  const char* unit_name;  ///< what the field calls a unit: "slab", "page of mimalloc", "4 KiB page"
  std::uint64_t thread_cached_bytes;  ///< free blocks in thread caches that the census had to take for live
  std::uint64_t internal_bytes;       ///< blocks of the allocator's own that it had to take for live
  std::uint64_t reads, raced;         ///< looks into the heap, and how many of them met memory that changed
  /// glibc: what is in memory of the tops of arenas beside the main one. malloc_trim does not reach it.
  std::uint64_t arena_top_bytes = 0;
  std::uint32_t arenas = 0, threadless_arenas = 0;  ///< glibc: beside the main one; with no thread any more
  FreeMemory free_memory{};
};

}  // namespace mallard::heaps
