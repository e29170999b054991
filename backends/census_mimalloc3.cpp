// SPDX-License-Identifier: Apache-2.0
// mimalloc 3.6: at each multiple of 256 MiB that holds its pages lies an array of 128-byte slots, one per
// slice. The slot where a page begins points to the page's structure: itself, or the beginning of the page.
// Facts from mi_usable_size, which every build shows, and from include/mimalloc/types.h.
#include <string.h>

#include "backends/mimalloc_census.hpp"

namespace mallard::backends {
namespace {

constexpr std::uintptr_t kRegion = 256 << 20;
constexpr std::size_t kSlots = kRegion / kMimallocSlice;
constexpr std::size_t kSlotBytes = 128;
constexpr std::uint8_t kMemoryOfArena = 6;

struct PageStructure {
  std::uintptr_t self, thread_id, free, local_free;
  std::uint64_t block_bytes;
  std::uint16_t used, not_needed[3];
  std::uint64_t first_block;  ///< from the beginning of this structure
  std::uint16_t not_needed_either, reserved, nor_these[2];
  std::uintptr_t thread_free;  ///< bit 0: the page has an owner
  std::uintptr_t thread_heap, heap, next, previous;
  std::uintptr_t from;   ///< arena, or address of the mapping
  std::uint64_t extent;  ///< arena: index and number of slices; else bytes
  std::uint8_t memory_kind, flags[7];
};
static_assert(sizeof(PageStructure) == kSlotBytes);

constinit PageCopies g_structures, g_links;
constinit bool g_layout_known = false;

/// Whether `s` is the structure of the page that holds `block`.
bool describes(const PageStructure& s, std::uintptr_t at, std::uintptr_t block,
               std::uint64_t usable) noexcept {
  const std::uintptr_t first = at + s.first_block;
  return s.block_bytes == usable && s.used > 0 && s.used <= s.reserved && block >= first &&
         (block - first) % usable == 0 && (block - first) / usable < s.reserved;
}

bool read_page_of(std::uintptr_t block, PageStructure* to, std::uintptr_t* at) noexcept {
  const std::uintptr_t slot = (block & ~(kRegion - 1)) + block % kRegion / kMimallocSlice * kSlotBytes;
  g_structures.clear();
  return g_structures.get(slot, at) && *at != 0 && *at % 16 == 0 && g_structures.get(*at, to);
}

/// Allocates blocks of one size and watches their page's structure count them.
bool find_layout(const MimallocAccess& access) noexcept {
  constexpr int kProbes = 8;
  void* probes[kProbes] = {};
  bool right = true;
  std::uintptr_t page = 0;
  unsigned used = 0, counted = 0;
  for (void*& probe : probes) {
    if (!(probe = access.malloc(kMimallocSlice / 64))) break;
    PageStructure s;
    std::uintptr_t at;
    right = right && read_page_of(address_of(probe), &s, &at) &&
            describes(s, at, address_of(probe), access.usable_size(probe));
    if (!right) break;
    if (at == page && s.used == used + 1) ++counted;
    page = at;
    used = s.used;
  }
  for (void* probe : probes)
    if (probe) access.free(probe);
  return right && counted >= kProbes / 2;
}

class Mimalloc3Census {
 public:
  explicit Mimalloc3Census(const CensusRequest& request) noexcept
      : request_(request), resident_(request.resident) {}

  CensusResult run(const MimallocAccess& access) noexcept {
    if (!g_layout_known && !(g_layout_known = find_layout(access))) {
      result_.why_not = "the page structures of this mimalloc are not laid out as in version 3.6";
      return result_;
    }
    std::uintptr_t next = 0;
    for (const AddressRange& range : request_.heap)
      for (std::uintptr_t region = range.begin & ~(kRegion - 1); region < range.end; region += kRegion) {
        if (region < next || !resident_.contains(region)) continue;
        next = region + kRegion;
        sweep(region);
      }
    result_.done = true;
    return result_;
  }

 private:
  void sweep(std::uintptr_t region) noexcept {
    g_structures.clear();
    std::uintptr_t metadata_end = region + kSlots * kSlotBytes;
    bool first = true;
    for (std::size_t i = 0; i < kSlots; ++i) {
      const std::uintptr_t slot = region + i * kSlotBytes, slice = region + i * kMimallocSlice;
      if (slot % kPageBytes == 0 && !resident_.contains(slot)) {
        i += kPageBytes / kSlotBytes - 1;
        continue;
      }
      std::uintptr_t at;
      if (!g_structures.get(slot, &at)) {
        ++result_.raced;
        continue;
      }
      if (at == 0) continue;
      if (first)
        metadata_end = slice;  // the arena's bitmaps, and slices of theaps, come before the first page
      first = false;
      if (at == slot || at == slice) take(at, slice);
    }
    request_.take({region, metadata_end, UnitKind::kMetadata, 0, 0, 0}, request_.opaque);
  }

  void take(std::uintptr_t at, std::uintptr_t slice) noexcept {
    PageStructure s;
    if (!(at == slice ? os::copy_if_readable(&s, at, sizeof s) : g_structures.get(at, &s))) {
      ++result_.raced;
      return;
    }
    const std::uint64_t bytes =
        s.memory_kind == kMemoryOfArena ? (s.extent >> 32) * kMimallocSlice : s.from + s.extent - slice;
    const std::uintptr_t blocks_end = at + s.first_block + s.reserved * s.block_bytes;
    if (s.used != 0 &&
        (blocks_end < slice || blocks_end > slice + bytes || bytes >= std::uintptr_t{1} << 47)) {
      ++result_.raced;
      return;
    }
    take_mimalloc_page(g_links,
                       {.begin = slice,
                        .end = slice + bytes,
                        .block_bytes = s.block_bytes,
                        .used = s.used,
                        .reserved = s.reserved,
                        .thread_free = s.thread_free & ~std::uintptr_t{1}},
                       0, request_, result_);
  }

  const CensusRequest& request_;
  RangeCursor resident_;
  CensusResult result_{.unit_name = "page of mimalloc"};
};

}  // namespace

CensusResult mimalloc3_census(const MimallocAccess& access, const CensusRequest& request) noexcept {
  return Mimalloc3Census(request).run(access);
}

}  // namespace mallard::backends
