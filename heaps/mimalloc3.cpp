// SPDX-License-Identifier: Apache-2.0
// mimalloc 3.6: at each multiple of 256 MiB that holds its pages lies an array of 128-byte slots, one per
// slice. The slot where a page begins points to the page's structure: itself, or the beginning of the page.
// Facts from mi_usable_size, which every build shows, and from include/mimalloc/types.h.
#include "heaps/mimalloc.hpp"

namespace mallard::heaps {
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

constinit PageCopies g_structures;
constinit PageStructure g_inside[os::kMaxPieces]{};
constinit bool g_layout_known = false;

/// Whether `s` is the structure of the page that holds `block`.
bool describes(const PageStructure& s, std::uintptr_t at, std::uintptr_t block,
               std::uint64_t usable) noexcept {
  const std::uintptr_t first = at + s.first_block;
  return s.block_bytes == usable && s.used > 0 && s.used <= s.reserved && block >= first &&
         (block - first) % usable == 0 && (block - first) / usable < s.reserved;
}

bool read_page_of(const ProcessMemory& process, std::uintptr_t block, PageStructure* to,
                  std::uintptr_t* at) noexcept {
  const std::uintptr_t slot = (block & ~(kRegion - 1)) + block % kRegion / kMimallocSlice * kSlotBytes;
  g_structures.begin(process);
  return g_structures.get(slot, at) && *at != 0 && *at % 16 == 0 && g_structures.get(*at, to);
}

/// Allocates blocks of one size and watches their page's structure count them.
bool find_layout(const ProcessMemory& process, const MimallocAccess& access) noexcept {
  constexpr int kProbes = 8;
  void* probes[kProbes] = {};
  bool right = true;
  std::uintptr_t page = 0;
  unsigned used = 0, counted = 0;
  for (void*& probe : probes) {
    if (!(probe = access.malloc(kMimallocSlice / 64))) break;
    PageStructure s;
    std::uintptr_t at;
    right = right && read_page_of(process, address_of(probe), &s, &at) &&
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
      : request_(request),
        resident_slots_(request.resident),
        resident_pages_(request.resident),
        pages_(request) {}

  CensusResult run(const MimallocAccess& access) noexcept {
    if (!g_layout_known && !(g_layout_known = find_layout(request_.process, access))) {
      pages_.result.why_not = "the page structures of this mimalloc are not laid out as in version 3.6";
      return pages_.result;
    }
    return pages_.run([this] { sweep_all(); });
  }

 private:
  void sweep_all() noexcept {
    done_ = 0;
    std::uintptr_t next = 0;
    for (const AddressRange& range : request_.heap)
      for (std::uintptr_t region = range.begin & ~(kRegion - 1); region < range.end; region += kRegion) {
        // One inside a mapping of its own for a huge block holds no slots.
        if (region < next || region < done_ || !resident_slots_.contains(region)) continue;
        next = region + kRegion;
        sweep(region);
      }
  }

  void sweep(std::uintptr_t region) noexcept {
    g_structures.begin(request_.process);
    std::uintptr_t metadata_end = region + kSlots * kSlotBytes;
    bool first = true;
    for (std::size_t i = 0; i < kSlots; ++i) {
      const std::uintptr_t slot = region + i * kSlotBytes, slice = region + i * kMimallocSlice;
      if (slot % kPageBytes == 0 && !resident_slots_.contains(slot)) {
        i += kPageBytes / kSlotBytes - 1;
        continue;
      }
      std::uintptr_t at;
      if (!g_structures.get(slot, &at)) {
        ++pages_.result.raced;
        continue;
      }
      if (at == 0) continue;
      if (first)
        metadata_end = slice;  // the arena's bitmaps, and slices of theaps, come before the first page
      first = false;
      if (at == slot) {
        report_inside();  // first what comes before it
        PageStructure s;
        if (g_structures.get(slot, &s)) report(s, slot, slice);
      } else if (at == slice && resident_pages_.contains(slice)) {
        inside_[inside_count_++] = slice;
        if (inside_count_ == os::kMaxPieces) report_inside();
      }
    }
    report_inside();
    pages_.report_metadata(region, metadata_end);
  }

  /// Pages whose structures lie in the pages themselves.
  void report_inside() noexcept {
    for (std::size_t i = 0; i < inside_count_; ++i) {
      const std::size_t n =
          request_.process.copy_pieces(g_inside, inside_ + i, inside_count_ - i, sizeof g_inside[0]);
      for (std::size_t k = 0; k < n; ++k) report(g_inside[k], inside_[i + k], inside_[i + k]);
      i += n;
      if (i < inside_count_) ++pages_.result.raced;  // this one cannot be read any more
    }
    inside_count_ = 0;
  }

  void report(const PageStructure& s, std::uintptr_t at, std::uintptr_t slice) noexcept {
    const std::uint64_t bytes =
        s.memory_kind == kMemoryOfArena ? (s.extent >> 32) * kMimallocSlice : s.from + s.extent - slice;
    const std::uintptr_t blocks_end = at + s.first_block + s.reserved * s.block_bytes;
    if (s.used == 0) return;
    if (slice < done_ || blocks_end < slice || blocks_end > slice + bytes ||
        bytes >= std::uintptr_t{1} << 47) {
      ++pages_.result.raced;
      return;
    }
    done_ = slice + bytes;
    pages_.report({.begin = slice,
                   .end = slice + bytes,
                   .block_bytes = s.block_bytes,
                   .used = s.used,
                   .reserved = s.reserved,
                   .thread_free = s.thread_free & ~std::uintptr_t{1}},
                  0);
  }

  const CensusRequest& request_;
  RangeCursor resident_slots_, resident_pages_;
  MimallocPages pages_;
  std::uintptr_t inside_[os::kMaxPieces];
  std::size_t inside_count_ = 0;
  std::uintptr_t done_ = 0;  ///< end of the last page; one that begins before it has replaced it meanwhile
};

}  // namespace

CensusResult mimalloc3_census(const MimallocAccess& access, const CensusRequest& request) noexcept {
  return Mimalloc3Census(request).run(access);
}

}  // namespace mallard::heaps
