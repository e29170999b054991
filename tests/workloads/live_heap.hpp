// SPDX-License-Identifier: Apache-2.0
// The truth about resident memory by call site: every live block is known, and charged its share, by usable
// bytes, of what is resident of its unit: the memory that the allocator can only give back as a whole.
// - system: a page of 4 KiB
// - jemalloc: a slab; their sizes come in WORKLOAD_SLABS ("8:4096,16:4096,..."), from the same version's
//   mallctl. Threads empty their caches by the mallctl of the object named in WORKLOAD_JEMALLOC.
// - tcmalloc: a span that MallocExtension::Ranges of the object named in WORKLOAD_TCMALLOC calls in use;
// those
//   in which only blocks of caches are left are held as well
// - mimalloc: a page of mimalloc: the slices of 64 KiB around an area that mi_heap_visit_blocks of the object
//   named in WORKLOAD_MIMALLOC lists, and mi_abandoned_visit_blocks where it has that
#pragma once

#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "workload.hpp"

namespace workload {

struct Block {
  std::uintptr_t address;
  std::uint64_t size : 48, site : 16;
};

inline constexpr int kMaxSites = 16;
inline constexpr std::uint64_t kSlice = 64 << 10;
inline constexpr std::uint64_t kLargest = 512 << 10;  ///< from here on a block of mimalloc has its page alone

struct SiteTruth {
  std::uint64_t live_bytes = 0;
  double resident_bytes = 0;
};

struct HeapTruth {
  SiteTruth sites[kMaxSites];
  double pinned_bytes = 0;    ///< resident bytes of all units with live blocks
  double live_bytes = 0;      ///< of that: requested
  double rounding_bytes = 0;  ///< of that: of live blocks, but not requested
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
    if (const char* object = getenv("WORKLOAD_MIMALLOC"); object && *object) find_visitors(object);
    if (const char* slabs = getenv("WORKLOAD_SLABS"); slabs && *slabs) parse_slabs(slabs);
    if (const char* object = getenv("WORKLOAD_JEMALLOC"); object && *object)
      find(load(object), "mallctl", mallctl_);
    if (const char* object = getenv("WORKLOAD_TCMALLOC"); object && *object)
      find(load(object), "_ZN15MallocExtension8instanceEv", extension_);
  }

  /// Gives the free blocks that the calling thread keeps for itself back, where the allocator can be told to.
  void empty_own_cache() {
    if (mallctl_) mallctl_("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
  }

  /// Adds what mimalloc lists of the calling thread: its pages, or those of all threads from version 3.2 on.
  /// Other threads must not allocate meanwhile where it lists all.
  void list_own() {
    if (!visit_ || lists_all_) return;
    visit_(heap_(), false, add_area, this);
  }

  /// Adds all that mimalloc lists, and makes the areas ready for unit_of(). Nobody may allocate meanwhile.
  void list_all() {
    if (extension_) list_spans();
    if (!visit_) return;
    visit_(heap_(), false, add_area, this);
    if (visit_abandoned_) visit_abandoned_(subprocess_(), -1, false, add_area, this);
    std::sort(areas_.begin(), areas_.end(), [](const Area& a, const Area& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.listed < b.listed;
    });
    // What was listed of memory that another page has taken since is out of date.
    std::size_t kept = 0;
    for (const Area& area : areas_) {
      while (kept > 0 && areas_[kept - 1].end > area.begin && areas_[kept - 1].listed < area.listed) kept--;
      if (kept == 0 || areas_[kept - 1].end <= area.begin) areas_[kept++] = area;
    }
    areas_.shorten(kept);
  }

  /// The unit of the byte at `address`, which belongs to a block of `usable` bytes that begins at `block`.
  Unit unit_of(std::uintptr_t address, std::uintptr_t block, std::uint64_t usable) {
    for (int i = 0; i < slab_count_; i++)
      if (slabs_[i].block_bytes == usable) return slab_of(block, usable, slabs_[i].slab_bytes);
    if (slab_count_)
      return {block / kPage * kPage, (block + usable + kPage - 1) / kPage * kPage};  // own extent
    if (areas_.size()) {
      if (is_in_area(block)) return {areas_[at_].begin, areas_[at_].end};
      unknown_ += usable < kLargest;
      const std::uintptr_t begin = block / kSlice * kSlice;
      return {begin, begin + page_bytes(block + usable - begin)};
    }
    return {address / kPage * kPage, address / kPage * kPage + kPage};
  }

  /// All that the allocator has given away for a block: mimalloc shifts an aligned one inside a larger block.
  Unit block_of(std::uintptr_t block, std::uint64_t usable) {
    const Unit all = {block, block + usable};
    if (areas_.size() == 0 || !is_in_area(block)) return all;
    const Area& area = areas_[at_];
    const std::uintptr_t begin = block - (block - area.blocks) % area.block_bytes;
    return area.block_bytes >= usable ? Unit{begin, begin + area.block_bytes} : all;
  }

  /// Before a block: its size, and in a mapping of its own the size of what lies before it.
  std::uint64_t header_bytes(std::uint64_t usable) const {
    if (slab_count_ || areas_.size()) return 0;
    return usable % kPage == kPage - 16 ? 16 : 8;
  }

  /// Called with each area that mimalloc lists; nullptr: nobody wants to know.
  void (*on_area)(std::uintptr_t begin, std::uintptr_t end) = nullptr;

  /// Blocks that share their unit with others, and no unit was found for.
  std::uint64_t unknown() const { return unknown_; }

  /// Calls `visit` with each unit that is held although none of the blocks asked for lies in it.
  template <typename Visit>
  void each_held_without_blocks(Visit visit) {
    if (!extension_) return;
    for (const Area& area : areas_)
      if (!area.met) visit(Unit{area.begin, area.end});
  }

 private:
  // The beginning of mimalloc's public mi_heap_area_t, the same in versions 2 and 3.
  struct HeapArea {
    void* blocks;
    std::size_t reserved, committed, used, block_size, full_block_size;
  };
  using Visitor = bool (*)(const void*, const HeapArea*, void*, std::size_t, void*);

  struct Area {
    std::uintptr_t begin, end, blocks;
    std::uint64_t block_bytes;
    std::uint64_t listed;  ///< running number
    bool met = false;      ///< holds a block that was asked for
  };
  // gperftools' public base::MallocRange.
  struct Range {
    std::uintptr_t begin;
    std::size_t bytes;
    int type;  ///< 0 = in use
    double used_part;
  };
  struct Slab {
    std::uint64_t block_bytes, slab_bytes;
  };

  static void* load(const char* object) {
    void* handle = dlopen(object, RTLD_NOLOAD | RTLD_NOW);
    if (handle) return handle;
    fprintf(stderr, "%s is not loaded\n", object);
    _exit(3);
  }
  template <typename Function>
  static bool find(void* handle, const char* name, Function& to) {
    to = reinterpret_cast<Function>(dlsym(handle, name));
    return to != nullptr;
  }

  /// The tenth entry of MallocExtension's virtual table is Ranges in all of gperftools 2.
  void list_spans() {
    void** const extension = extension_();
    using Ranges = void (*)(void*, void*, void (*)(void*, const Range*));
    const auto ranges = reinterpret_cast<Ranges>((*static_cast<void***>(static_cast<void*>(extension)))[10]);
    ranges(extension, this, [](void* units, const Range* range) {
      if (range->type == 0)
        static_cast<Units*>(units)->areas_.push(
            {range->begin, range->begin + range->bytes, range->begin, 1, 0});
    });
  }

  void find_visitors(const char* object) {
    void* handle = load(object);
    int (*version)() = nullptr;
    is_version_2_ = find(handle, "mi_version", version) && (version() < 300 || version() / 10000 == 2);
    lists_all_ = find(handle, "mi_heap_main", heap_);
    if (!lists_all_) find(handle, "mi_heap_get_default", heap_);
    if (!find(handle, "mi_heap_visit_blocks", visit_) || !heap_) {
      fprintf(stderr, "%s has no mi_heap_visit_blocks\n", object);
      _exit(3);
    }
    if (!find(handle, "mi_subproc_main", subprocess_) ||
        !find(handle, "mi_abandoned_visit_blocks", visit_abandoned_))
      visit_abandoned_ = nullptr;
  }

  /// Moves to the area of `block`; blocks come in ascending order.
  bool is_in_area(std::uintptr_t block) {
    while (at_ + 1 < areas_.size() && areas_[at_ + 1].begin <= block) at_++;
    const bool is_in = areas_[at_].begin <= block && block < areas_[at_].end;
    areas_[at_].met |= is_in;
    return is_in;
  }

  /// What the page of one block has; in version 2 a large one is a multiple of half a MiB.
  std::uint64_t page_bytes(std::uint64_t bytes) const {
    const std::uint64_t step = is_version_2_ && bytes > kLargest ? kLargest : kSlice;
    return (bytes + step - 1) / step * step;
  }

  static bool add_area(const void*, const HeapArea* area, void*, std::size_t, void* units) {
    const auto blocks = reinterpret_cast<std::uintptr_t>(area->blocks);
    const std::uintptr_t begin = blocks / kSlice * kSlice;
    const std::uint64_t block_bytes = std::max<std::size_t>(area->full_block_size, 1);
    auto& self = *static_cast<Units*>(units);
    std::uint64_t bytes = blocks + area->reserved - begin;
    if (area->reserved < 2 * block_bytes) bytes = self.page_bytes(bytes);
    else
      for (const std::uint64_t page : {64 * kSlice, 8 * kSlice, kSlice})  // pages for several blocks
        if (area->reserved <= page) bytes = page;
    self.areas_.push({begin, begin + bytes, blocks, block_bytes, self.listed_++});
    if (self.on_area) self.on_area(begin, begin + bytes);
    return true;
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

  int (*mallctl_)(const char*, void*, std::size_t*, void*, std::size_t) = nullptr;
  void** (*extension_)() = nullptr;
  void* (*heap_)() = nullptr;
  void* (*subprocess_)() = nullptr;
  bool (*visit_)(const void*, bool, Visitor, void*) = nullptr;
  bool (*visit_abandoned_)(void*, int, bool, Visitor, void*) = nullptr;
  bool is_version_2_ = false;
  bool lists_all_ = false;  ///< not only the calling thread's
  List<Area> areas_;
  std::uint64_t listed_ = 0;
  std::size_t at_ = 0;
  Slab slabs_[64];
  int slab_count_ = 0;
  std::uint64_t unknown_ = 0;
};

/// Sorts `blocks` and divides what is resident among their sites.
/// \param units   all that the allocator tells of them has been listed
/// \param pinned  takes the units that cannot go back, in ascending order
inline HeapTruth divide_heap(List<Block>& blocks, Units& units, List<Units::Unit>* pinned = nullptr) {
  std::sort(blocks.begin(), blocks.end(),
            [](const Block& a, const Block& b) { return a.address < b.address; });
  HeapTruth truth;
  PageTables pages;
  Units::Unit unit = {0, 0};
  double in_unit[kMaxSites] = {}, all_in_unit = 0;

  const auto close_unit = [&] {
    if (all_in_unit > 0) {
      const auto resident = static_cast<double>(pages.resident_bytes(unit.begin, unit.end));
      truth.pinned_bytes += resident;
      if (pinned) pinned->push(unit);
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
    const Units::Unit all = units.block_of(block.address, usable);
    truth.rounding_bytes += static_cast<double>(pages.resident_bytes(all.begin, all.end)) - asked;
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
  units.each_held_without_blocks([&](const Units::Unit& held) {
    truth.pinned_bytes += static_cast<double>(pages.resident_bytes(held.begin, held.end));
    if (pinned) pinned->push(held);
  });
  if (pinned)
    std::sort(pinned->begin(), pinned->end(),
              [](const Units::Unit& a, const Units::Unit& b) { return a.begin < b.begin; });
  return truth;
}

/// The same where one thread has all the blocks.
inline HeapTruth divide_heap(List<Block>& blocks) {
  Units units;
  units.list_all();
  const HeapTruth truth = divide_heap(blocks, units);
  if (units.unknown() * 100 > blocks.size()) {
    fprintf(stderr, "%" PRIu64 " of %zu blocks have no unit\n", units.unknown(), blocks.size());
    _exit(3);
  }
  return truth;
}

}  // namespace workload
