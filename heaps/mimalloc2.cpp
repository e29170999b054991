// SPDX-License-Identifier: Apache-2.0
// mimalloc 2.0: segments of 32 MiB (or more, for one huge block), aligned to 32 MiB, begin with an array of
// structures, one per slice of 64 KiB, that describe pages and free spans. Layout: mimalloc-types.h of 2.0.9,
// where the structure has 80 bytes, or 96 in builds that encode their free lists (those links cannot be read:
// the thread-free blocks of such a build count as live).
#include <string.h>

#include "heaps/mimalloc.hpp"

namespace mallard::heaps {
namespace {

constexpr std::uintptr_t kSegment = 32 << 20;
constexpr std::size_t kSlices = kSegment / kMimallocSlice;
constexpr std::size_t kMaxHeaderSlices = 8;
constexpr std::uint32_t kHugeBlock = std::uint32_t{1} << 31;  ///< from here on the page's size is the block's

struct PageStructure {
  std::uint32_t slices, slices_back;
  std::uint8_t bits, not_needed;
  std::uint16_t capacity, reserved, not_needed_either;
  std::uintptr_t free;
  std::uint32_t used, block_bytes;
  std::uintptr_t local_free, thread_free;  ///< bits 0 and 1 of thread_free: how other threads free
};
static_assert(sizeof(PageStructure) == 48);

/// What lies in the segment before the array.
struct SegmentEnd {
  std::uint64_t slices, header_slices, kind, entries, thread_id;
};

struct Layout {
  std::size_t first;   ///< of the array, from the beginning of the segment
  std::size_t stride;  ///< 0 = not known
};
constinit Layout g_layout{};
constinit PageCopies g_structures;

/// Where in its segment the structure of the page of `block` lies; 0 if nothing looks like it.
std::size_t find_structure(const ProcessMemory& process, std::uintptr_t block, std::uint64_t usable,
                           std::size_t stride) noexcept {
  const std::uintptr_t segment = block & ~(kSegment - 1);
  const std::size_t index = block % kSegment / kMimallocSlice;
  for (std::size_t first = 128; first < 1024; first += 8) {
    PageStructure s;
    const std::size_t offset = first + index * stride;
    SegmentEnd end;
    if (!process.get(segment + offset, &s) || !process.get(segment + first - sizeof end, &end)) return 0;
    if (end.slices == kSlices && end.entries == kSlices && end.header_slices <= kMaxHeaderSlices &&
        s.slices == 1 && s.slices_back == 0 && s.block_bytes == usable && s.used > 0 &&
        s.used <= s.capacity && s.capacity <= s.reserved && s.reserved <= kMimallocSlice / usable &&
        s.reserved >= kMimallocSlice / usable - 2)
      return first;
  }
  return 0;
}

/// Allocates blocks of several sizes, so that their pages lie in different slices.
Layout find_layout(const ProcessMemory& process, const MimallocAccess& access) noexcept {
  constexpr int kProbes = 4;
  constexpr std::size_t kStrides[] = {80, 96};
  void* probes[kProbes] = {};
  Layout found{};
  for (int i = 0; i < kProbes; ++i) probes[i] = access.malloc(std::size_t{700} << i);
  for (const std::size_t stride : kStrides) {
    std::size_t first = 0;
    std::uintptr_t slices = 0;
    bool right = true;
    for (void* p : probes) {
      const std::size_t f = p ? find_structure(process, address_of(p), access.usable_size(p), stride) : 0;
      right = right && f != 0 && (first == 0 || f == first);
      first = f;
      slices |= std::uintptr_t{1} << (address_of(p) / kMimallocSlice % 64);
    }
    if (right && (slices & (slices - 1)) != 0) found = {first, stride};
  }
  for (void* p : probes)
    if (p) access.free(p);
  return found;
}

class Mimalloc2Census {
 public:
  explicit Mimalloc2Census(const CensusRequest& request) noexcept
      : request_(request), resident_(request.resident), pages_(request) {}

  CensusResult run(const MimallocAccess& access) noexcept {
    if (g_layout.stride == 0) g_layout = find_layout(request_.process, access);
    if (g_layout.stride == 0) {
      pages_.result.why_not = "the page structures of this mimalloc are not laid out as in version 2.0";
      return pages_.result;
    }
    return pages_.run([this] { sweep_all(); });
  }

 private:
  void sweep_all() noexcept {
    std::uintptr_t next = 0;
    for (const AddressRange& range : request_.heap)
      for (std::uintptr_t at = align_up(range.begin, kSegment); at < range.end; at += kSegment) {
        if (at < next || !resident_.contains(at)) continue;
        next = at + sweep(at);
      }
  }

  bool read(std::uintptr_t segment, std::size_t index, PageStructure* to) noexcept {
    // Copies are of whole pages; structures are not.
    const std::uintptr_t at = segment + g_layout.first + index * g_layout.stride;
    for (std::size_t done = 0; done < sizeof *to; done += 8) {
      std::uint64_t word;
      if (!g_structures.get(at + done, &word)) return false;
      memcpy(reinterpret_cast<char*>(to) + done, &word, sizeof word);
    }
    return true;
  }

  bool read_end(std::uintptr_t segment, SegmentEnd* to) noexcept {
    return g_structures.get(segment + g_layout.first - sizeof *to, to);
  }

  /// \return bytes of the segment
  std::uintptr_t sweep(std::uintptr_t segment) noexcept {
    g_structures.begin(request_.process);
    PageStructure s;
    // The first entry stands for the segment's own header.
    if (!read(segment, 0, &s) || s.slices == 0 || s.slices > kMaxHeaderSlices || s.slices_back != 0)
      return kSegment;
    SegmentEnd end;
    if (!read_end(segment, &end) || end.entries > kSlices || end.header_slices != s.slices) {
      ++pages_.result.raced;
      return kSegment;
    }
    const std::size_t header = s.slices;
    for (std::size_t i = header; i < end.entries; i += s.slices) {
      if (!read(segment, i, &s) || s.slices == 0 || i + s.slices > end.slices) {
        ++pages_.result.raced;
        break;
      }
      if (s.block_bytes > 1) report(segment + i * kMimallocSlice, s);
    }
    pages_.report_metadata(segment, segment + header * kMimallocSlice);
    return align_up(end.slices * kMimallocSlice, kSegment);
  }

  void report(std::uintptr_t begin, const PageStructure& s) noexcept {
    const std::uint64_t bytes = s.slices * kMimallocSlice;
    const bool links_known = g_layout.stride == 80;
    // The first block that another thread frees waits on its heap's list; while it does, the others go to the
    // page's.
    constexpr unsigned kNoDelayedFree = 2;
    const bool delayed = links_known && (s.thread_free & 3) == kNoDelayedFree;
    pages_.report({.begin = begin,
                   .end = begin + bytes,
                   .block_bytes = s.block_bytes < kHugeBlock ? s.block_bytes : bytes,
                   .used = s.used,
                   .reserved = s.reserved,
                   .thread_free = links_known ? s.thread_free & ~std::uintptr_t{3} : 0},
                  delayed);
  }

  const CensusRequest& request_;
  RangeCursor resident_;
  MimallocPages pages_;
};

}  // namespace

CensusResult mimalloc2_census(const MimallocAccess& access, const CensusRequest& request) noexcept {
  return Mimalloc2Census(request).run(access);
}

}  // namespace mallard::heaps
