// SPDX-License-Identifier: Apache-2.0
// mimalloc 3: something leads from each slice of 64 KiB to the structure of the page that lies there.
// From 3.0 to 3.4 it is a map of two levels; in 3.6 an array of 128-byte slots, one per slice, at each
// multiple of 256 MiB, of which the slot where a page begins points to the page's structure: itself, or the
// beginning of the page.
#include <algorithm>

#include "heaps/mimalloc_links.hpp"
#include "heaps/mimalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constexpr std::uintptr_t kSubmapBytes = kSubmapSpan / kMimallocSlice * sizeof(std::uintptr_t);
constexpr std::uintptr_t kMostMapBytes = std::uintptr_t{1} << 32;

constinit PageCopies g_structures;
constinit unsigned char g_pieces[os::kMaxPieces * kMostMimallocShapeBytes]{};

/// The map's upper level, with the first of the lower parts right behind it.
AddressRange upper_map(const MimallocLayout& layout) noexcept {
  std::uintptr_t lowest = 0;
  const bool is_told = g_structures.get(layout.page_map, &lowest) && lowest > layout.page_map &&
                       lowest - layout.page_map < kMostMapBytes;
  return {layout.page_map, is_told ? lowest + kSubmapBytes : layout.page_map};
}

/// The slices of the page whose structure is `s`, as the page's memory is described there.
/// \param slice  the first one that leads to the structure
AddressRange slices_of(const MimallocStructure& s, std::uintptr_t slice) noexcept {
  return {slice, s.of_arena ? slice + s.slices * kMimallocSlice : s.source + s.extent};
}

/// Whether the structures that `layout` supposes know the live block `block`.
bool knows(const MimallocLayout& layout, const ProcessMemory& process, std::uintptr_t block,
           std::uint64_t usable, MimallocStructure* found) noexcept {
  const std::uintptr_t link = link_of(g_structures, layout, block);
  std::uintptr_t at = 0;
  unsigned char copy[kMostMimallocShapeBytes];
  if (!link || !g_structures.get(link, &at) || at == 0 || at % 8 != 0 ||
      !process.copy(copy, at, layout.shape->bytes))
    return false;
  *found = read_mimalloc_structure(*layout.shape, copy, at);
  // The probes have small pages, which lie in one slice and belong to a thread.
  const std::uintptr_t slice = block & ~(kMimallocSlice - 1);
  const AddressRange page = slices_of(*found, slice);
  return found->of_arena && found->slices == 1 && found->owner % 8 == 0 && found->owner >= kPageBytes &&
         describes_mimalloc_block(*found, block, usable, page.begin, page.end);
}

/// The map's upper level, by the variable that points to it: 0 if nothing there leads to a page of `block`.
std::uintptr_t find_map(const MimallocShape& shape, const MimallocAccess& access,
                        const ProcessMemory& process, std::uintptr_t block, std::uint64_t usable) noexcept {
  for (std::uintptr_t at = access.data.begin; at + sizeof at <= access.data.end; at += sizeof at) {
    const std::uintptr_t map = process.word(at);
    if (map < kPageBytes || map % kPageBytes != 0 || map >> 47 != 0) continue;
    const MimallocLayout supposed{.shape = &shape, .page_map = map};
    MimallocStructure found;
    if (knows(supposed, process, block, usable, &found)) return map;
  }
  return 0;
}

}  // namespace

MimallocLayout find_mimalloc_page_map(const MimallocAccess& access, const ProcessMemory& process) noexcept {
  MimallocCandidate candidates[kMimallocShapeCount]{};
  MimallocLayout layouts[kMimallocShapeCount]{};
  MimallocProbes probes(access);
  bool first = true;
  for (; probes.next(); first = false) {
    g_structures.begin(process);
    for (std::size_t i = 0; i < kMimallocShapeCount; ++i) {
      if (kMimallocShapes[i].family == MimallocFamily::kSegments || candidates[i].is_out()) continue;
      layouts[i].shape = &kMimallocShapes[i];
      if (first && kMimallocShapes[i].family == MimallocFamily::kPageMap)
        layouts[i].page_map = find_map(kMimallocShapes[i], access, process, probes.block(), probes.usable());
      MimallocStructure found;
      const bool known = (layouts[i].page_map != 0 || kMimallocShapes[i].family == MimallocFamily::kSlots) &&
                         knows(layouts[i], process, probes.block(), probes.usable(), &found);
      candidates[i].add(known ? &found : nullptr);
    }
  }
  MimallocLayout layout{};
  for (std::size_t i = 0; i < kMimallocShapeCount; ++i) {
    if (!candidates[i].fits()) continue;
    if (layout.shape) return {};  // two descriptions of one thing: none is believed
    layout = layouts[i];
  }
  return layout;
}

void each_mimalloc_map(const ProcessMemory& process, const MimallocLayout& layout, AddressRange heap,
                       void (*visit)(AddressRange piece, void* opaque), void* opaque) noexcept {
  if (layout.shape->family != MimallocFamily::kPageMap) return;
  g_structures.begin(process);
  visit(upper_map(layout), opaque);
  for (std::uintptr_t at = heap.begin & ~(kSubmapSpan - 1); at < heap.end; at += kSubmapSpan)
    if (const std::uintptr_t submap = link_of(g_structures, layout, at); submap != 0)
      visit({submap, submap + kSubmapBytes}, opaque);
}

namespace {

/// Things that have been reported already, by their address. What does not fit is not reported.
class SeenOnce {
 public:
  void clear() noexcept { count_ = 0; }
  /// \return true the first time
  bool add(std::uintptr_t what) noexcept {
    for (std::size_t i = count_; i-- > 0;)
      if (seen_[i] == what) return false;
    if (count_ == kMost) return false;
    seen_[count_++] = what;
    return true;
  }

 private:
  static constexpr std::size_t kMost = 512;
  std::uintptr_t seen_[kMost];
  std::size_t count_ = 0;
};

class PageMapCensus {
 public:
  PageMapCensus(const MimallocLayout& layout, const CensusRequest& request) noexcept
      : layout_(layout),
        request_(request),
        heap_(request.heap),
        resident_links_(request.resident),
        resident_structures_(request.resident),
        pages_(request) {}

  CensusResult run() noexcept {
    return pages_.run([this] {
      done_ = 0;
      arenas_.clear();
      owners_.clear();
      g_structures.begin(request_.process);
      if (layout_.shape->family == MimallocFamily::kPageMap) report_map();
      for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
    });
  }

 private:
  void sweep(AddressRange range) noexcept {
    g_structures.begin(request_.process);
    last_ = 0;
    for (std::uintptr_t slice = align_up(range.begin, kMimallocSlice); slice < range.end;
         slice += kMimallocSlice) {
      if (slice % kRegion == 0 || slice == align_up(range.begin, kMimallocSlice)) begin_region(slice);
      const std::uintptr_t link = link_of(g_structures, layout_, slice);
      if (link == 0) {
        slice = align_up(slice + 1, kSubmapSpan) - kMimallocSlice;
        continue;
      }
      std::uintptr_t at = 0;
      if (!resident_links_.contains(link)) continue;
      if (!g_structures.get(link, &at)) ++pages_.result.raced;
      else if (at != 0 && at != last_) meet(at, slice, link);
    }
    report_pieces();
  }

  /// An array of slots begins with those of the slices that it lies in itself.
  void begin_region(std::uintptr_t slice) noexcept {
    if (layout_.shape->family != MimallocFamily::kSlots) return;
    report_pieces();
    region_ = slice & ~(kRegion - 1);
    // A region inside the mapping of a huge block holds no slots.
    region_is_new_ = region_has_slots_ = region_ >= done_;
  }

  /// A slice leads to the structure at `at`, and the one before it does not.
  void meet(std::uintptr_t at, std::uintptr_t slice, std::uintptr_t link) noexcept {
    if (layout_.shape->family == MimallocFamily::kSlots) {
      if (!region_has_slots_ || (at != link && at != slice)) return;  // the inside of a page leads elsewhere
      // The arena's bitmaps, and slices of theaps, come before the first page.
      if (region_is_new_) pages_.report_metadata(region_, slice);
      region_is_new_ = false;
    }
    last_ = at;
    if (!resident_structures_.contains(at)) return;
    pieces_[count_] = at;
    slices_[count_++] = slice;
    if (count_ == os::kMaxPieces) report_pieces();
  }

  void report_pieces() noexcept {
    const std::size_t bytes = layout_.shape->bytes;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t n = request_.process.copy_pieces(g_pieces, pieces_ + i, count_ - i, bytes);
      for (std::size_t k = 0; k < n; ++k)
        report(read_mimalloc_structure(*layout_.shape, g_pieces + k * bytes, pieces_[i + k]), slices_[i + k]);
      i += n;
      if (i < count_) ++pages_.result.raced;  // this one cannot be read any more
    }
    count_ = 0;
  }

  void report(const MimallocStructure& s, std::uintptr_t slice) noexcept {
    const AddressRange page = slices_of(s, slice);
    const std::uintptr_t blocks_end = s.first_block + s.reserved * s.block_bytes;
    if (slice < done_ || page.end <= slice || s.first_block < slice || blocks_end > page.end ||
        page.end - slice >= std::uintptr_t{1} << 47) {
      pages_.result.raced += s.used != 0;  // one without blocks may be gone already
      return;
    }
    if (s.used == 0) {  // slots lead to structures of pages that are gone, too
      if (layout_.shape->family == MimallocFamily::kPageMap) pages_.keep(slice, page.end);
      return;
    }
    done_ = page.end;
    pages_.report({.begin = slice,
                   .end = page.end,
                   .block_bytes = s.block_bytes,
                   .used = s.used,
                   .reserved = s.reserved,
                   .thread_free = s.thread_free & ~std::uintptr_t{1},
                   .keys = {s.keys[0], s.keys[1]},
                   .structure = s.at,
                   .ownerless = s.ownerless,
                   .first_block = s.first_block,
                   .free_lists = {s.free, s.local_free}},
                  0);
    if (layout_.shape->family == MimallocFamily::kPageMap && s.of_arena) report_arena(s, slice);
    report_owner(s.owner);
  }

  /// The map itself. Its upper level ends with a lower part for the addresses from 0 on.
  void report_map() noexcept {
    if (const AddressRange upper = upper_map(layout_); heap_.contains(upper.begin))
      pages_.report_metadata(upper.begin, upper.end);
    std::uintptr_t reported = 0;
    for (const AddressRange& range : request_.heap)
      for (std::uintptr_t at = range.begin & ~(kSubmapSpan - 1); at < range.end; at += kSubmapSpan) {
        const std::uintptr_t submap = at > 0 ? link_of(g_structures, layout_, at) : 0;
        if (submap == 0 || submap == reported || !heap_.contains(submap)) continue;
        reported = submap;
        pages_.report_metadata(submap, submap + kSubmapBytes);
      }
  }

  /// Its description and bitmaps come first in an arena. The two words that say how many slices the arena has
  /// and how many of them these take lie at different places in different versions.
  void report_arena(const MimallocStructure& s, std::uintptr_t slice) noexcept {
    const std::uintptr_t arena = slice - s.slice_index * kMimallocSlice;
    if (s.source != arena || !arenas_.add(arena)) return;
    constexpr std::uintptr_t kFirst = 24, kLast = 72;
    constexpr std::uint64_t kLeastSlices = 32, kMostSlices = 1 << 24;
    for (std::uintptr_t at = arena + kFirst; at < arena + kLast; at += sizeof at) {
      std::uint64_t slices, own_slices;
      if (!g_structures.get(at, &slices) || !g_structures.get(at + sizeof at, &own_slices)) return;
      if (slices < kLeastSlices || slices > kMostSlices || own_slices == 0 || own_slices > s.slice_index ||
          s.slice_index + s.slices > slices)
        continue;
      return pages_.report_metadata(arena, arena + own_slices * kMimallocSlice);
    }
  }

  /// What describes a thread's pages lies in slices that are no pages.
  void report_owner(std::uintptr_t owner) noexcept {
    if (owner == last_owner_ || owner < kPageBytes || layout_.shape->family != MimallocFamily::kPageMap)
      return;
    last_owner_ = owner;
    const std::uintptr_t slice = owner & ~(kMimallocSlice - 1);
    if (!owners_.add(slice) || !heap_.contains(slice)) return;
    const std::uintptr_t link = link_of(g_structures, layout_, slice);
    std::uintptr_t page = 0;
    if (link && g_structures.get(link, &page) && page == 0)
      pages_.report_metadata(slice, slice + kMimallocSlice);
  }

  const MimallocLayout& layout_;
  const CensusRequest& request_;
  RangeCursor heap_, resident_links_, resident_structures_;
  MimallocPages pages_;
  std::uintptr_t pieces_[os::kMaxPieces], slices_[os::kMaxPieces];
  std::size_t count_ = 0;
  std::uintptr_t last_ = 0;  ///< the structure that the slice before leads to
  std::uintptr_t done_ = 0;  ///< end of the last page; one that begins before it has replaced it meanwhile
  std::uintptr_t region_ = 0;
  bool region_is_new_ = false, region_has_slots_ = false;
  std::uintptr_t last_owner_ = 0;
  SeenOnce arenas_, owners_;
};

}  // namespace

CensusResult census_of_mimalloc_page_map(const MimallocLayout& layout,
                                         const CensusRequest& request) noexcept {
  return PageMapCensus(layout, request).run();
}

}  // namespace mallard::heaps
