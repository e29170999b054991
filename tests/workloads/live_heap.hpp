// SPDX-License-Identifier: Apache-2.0
// The truth about resident memory by call site: every live block is known, and charged its share, by usable
// bytes, of what is resident of its unit: the memory that the allocator can only give back as a whole.
// - system: a page of 4 KiB
// - jemalloc: a slab; their sizes come in WORKLOAD_SLABS ("8:4096,16:4096,..."), from the same version's
// mallctl
// - mimalloc: a page of mimalloc: the slices of 64 KiB around an area that mi_heap_visit_blocks of the object
//   named in WORKLOAD_MIMALLOC lists
#pragma once

#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>

#include "workload.hpp"

namespace workload {

struct Block {
  std::uintptr_t address;
  std::uint64_t size : 48, site : 16;
};

inline constexpr int kMaxSites = 16;
inline constexpr std::uint64_t kSlice = 64 << 10;

struct SiteTruth {
  std::uint64_t live_bytes = 0;
  double resident_bytes = 0;
};

struct HeapTruth {
  SiteTruth sites[kMaxSites];
  double pinned_bytes = 0;    ///< resident bytes of all units with live blocks
  double live_bytes = 0;      ///< of that: requested
  double rounding_bytes = 0;  ///< of that: usable, but not requested
  double header_bytes = 0;    ///< of that: glibc's, before each block
  double holes_bytes() const { return pinned_bytes - live_bytes - rounding_bytes - header_bytes; }
};

/// Which piece of memory goes back as a whole.
class Units {
 public:
  struct Unit {
    std::uintptr_t begin, end;
  };

  Units() : areas_(1 << 20) {
    if (const char* object = getenv("WORKLOAD_MIMALLOC"); object && *object) list_areas(object);
    if (const char* slabs = getenv("WORKLOAD_SLABS"); slabs && *slabs) parse_slabs(slabs);
  }

  /// The unit of the byte at `address`, which belongs to a block of `usable` bytes that begins at `block`.
  Unit unit_of(std::uintptr_t address, std::uintptr_t block, std::uint64_t usable) {
    for (int i = 0; i < slab_count_; i++)
      if (slabs_[i].block_bytes == usable) return slab_of(block, usable, slabs_[i].slab_bytes);
    if (slab_count_)
      return {block / kPage * kPage, (block + usable + kPage - 1) / kPage * kPage};  // own extent
    if (areas_.size()) {
      while (at_ + 1 < areas_.size() && areas_[at_ + 1].begin <= block)
        at_++;  // blocks come in ascending order
      if (areas_[at_].begin <= block && block < areas_[at_].end) return areas_[at_];
      unknown_++;
      return {block, block + usable};
    }
    return {address / kPage * kPage, address / kPage * kPage + kPage};
  }

  /// Before a block: its size, and in a mapping of its own the size of what lies before it.
  std::uint64_t header_bytes(std::uint64_t usable) const {
    if (slab_count_ || areas_.size()) return 0;
    return usable % kPage == kPage - 16 ? 16 : 8;
  }

  /// Small blocks that no unit was found for.
  std::uint64_t unknown() const { return unknown_; }

 private:
  // The beginning of mimalloc's public mi_heap_area_t, the same in versions 2 and 3.
  struct Area {
    void* blocks;
    std::size_t reserved, committed, used, block_size, full_block_size;
  };
  using Visitor = bool (*)(const void*, const Area*, void*, std::size_t, void*);

  struct Slab {
    std::uint64_t block_bytes, slab_bytes;
  };

  void list_areas(const char* object) {
    void* handle = dlopen(object, RTLD_NOLOAD | RTLD_NOW);
    if (!handle) {
      fprintf(stderr, "%s is not loaded\n", object);
      _exit(3);
    }
    using Heap = void* (*)();
    auto heap = reinterpret_cast<Heap>(dlsym(handle, "mi_heap_main"));
    if (!heap) heap = reinterpret_cast<Heap>(dlsym(handle, "mi_heap_get_default"));
    auto visit =
        reinterpret_cast<bool (*)(const void*, bool, Visitor, void*)>(dlsym(handle, "mi_heap_visit_blocks"));
    if (!heap || !visit) {
      fprintf(stderr, "%s has no mi_heap_visit_blocks\n", object);
      _exit(3);
    }
    visit(
        heap(), false,
        [](const void*, const Area* area, void*, std::size_t, void* list) {
          const auto begin = reinterpret_cast<std::uintptr_t>(area->blocks);
          const std::uintptr_t end = begin + area->reserved;
          static_cast<List<Unit>*>(list)->push(
              {begin / kSlice * kSlice, (end + kSlice - 1) / kSlice * kSlice});
          return true;
        },
        &areas_);
    std::sort(areas_.begin(), areas_.end(), [](const Unit& a, const Unit& b) { return a.begin < b.begin; });
  }

  void parse_slabs(const char* text) {
    for (char* end; *text && slab_count_ < 64; text = *end ? end + 1 : end) {
      slabs_[slab_count_].block_bytes = strtoull(text, &end, 10);
      slabs_[slab_count_++].slab_bytes = strtoull(end + 1, &end, 10);
    }
  }

  /// A slab is the smallest whole number of pages that blocks fill without a rest, so only one page-aligned
  /// address below the block is a multiple of the block's size away.
  static Unit slab_of(std::uintptr_t block, std::uint64_t block_bytes, std::uint64_t slab_bytes) {
    for (std::uintptr_t base = block / kPage * kPage; block - base < slab_bytes; base -= kPage)
      if ((block - base) % block_bytes == 0) return {base, base + slab_bytes};
    fprintf(stderr, "no slab for a block of %" PRIu64 " bytes\n", block_bytes);
    _exit(3);
  }

  List<Unit> areas_;
  std::size_t at_ = 0;
  Slab slabs_[64];
  int slab_count_ = 0;
  std::uint64_t unknown_ = 0;
};

/// Sorts `blocks` and divides what is resident among their sites.
inline HeapTruth divide_heap(List<Block>& blocks) {
  std::sort(blocks.begin(), blocks.end(),
            [](const Block& a, const Block& b) { return a.address < b.address; });
  HeapTruth truth;
  Units units;
  PageTables pages;
  Units::Unit unit = {0, 0};
  double in_unit[kMaxSites] = {}, all_in_unit = 0;

  const auto close_unit = [&] {
    if (all_in_unit > 0) {
      const auto resident = static_cast<double>(pages.resident_bytes(unit.begin, unit.end));
      truth.pinned_bytes += resident;
      for (int site = 0; site < kMaxSites; site++) {
        truth.sites[site].resident_bytes += resident * in_unit[site] / all_in_unit;
        in_unit[site] = 0;
      }
    }
    all_in_unit = 0;
  };
  for (const Block& block : blocks) {
    const std::uint64_t usable = malloc_usable_size(reinterpret_cast<void*>(block.address));
    truth.sites[block.site].live_bytes += block.size;
    const auto asked = static_cast<double>(pages.resident_bytes(block.address, block.address + block.size));
    truth.live_bytes += asked;
    truth.rounding_bytes +=
        static_cast<double>(pages.resident_bytes(block.address, block.address + usable)) - asked;
    truth.header_bytes += static_cast<double>(units.header_bytes(usable));
    for (std::uintptr_t at = block.address; at < block.address + usable;) {
      const Units::Unit next = units.unit_of(at, block.address, usable);
      if (next.begin != unit.begin || next.end != unit.end) {
        close_unit();
        unit = next;
      }
      const std::uintptr_t end = std::min(unit.end, block.address + usable);
      in_unit[block.site] += static_cast<double>(end - at);
      all_in_unit += static_cast<double>(end - at);
      at = end;
    }
  }
  close_unit();
  if (units.unknown() * 100 > blocks.size()) {
    fprintf(stderr, "%" PRIu64 " of %zu blocks have no unit\n", units.unknown(), blocks.size());
    _exit(3);
  }
  return truth;
}

}  // namespace workload
