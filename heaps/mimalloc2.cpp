// SPDX-License-Identifier: Apache-2.0
// mimalloc 2: segments of 32 MiB (64 MiB before 2.0.9; more for one huge block), aligned to that, begin with
// an array of structures, one per slice of 64 KiB, that describe pages and free spans.
#include "heaps/mimalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constexpr std::size_t kMaxHeaderSlices = 8;
constexpr std::uint32_t kHugeBlock = std::uint32_t{1} << 31;  ///< of 32 bits: the page's size is the block's

constinit PageCopies g_structures;

/// What lies in the segment before the array, and the beginning of a structure there.
struct SegmentEnd {
  std::uint64_t slices, header_slices, entries;
};
struct SliceBits {
  std::uint32_t slices, slices_back;
};

/// Reads a segment's array by copies of pages.
class Segment {
 public:
  Segment(const MimallocLayout& layout, std::uintptr_t at) noexcept : layout_(layout), at_(at) {}

  bool read_end(SegmentEnd* to) const noexcept {
    const std::uintptr_t array = at_ + layout_.first;
    return g_structures.get(array - 40, &to->slices) && g_structures.get(array - 32, &to->header_slices) &&
           g_structures.get(array - layout_.shape->entries_before, &to->entries);
  }

  bool read(std::size_t index, SliceBits* bits, MimallocStructure* to) const noexcept {
    const std::uintptr_t from = at_ + layout_.first + index * layout_.shape->bytes;
    // Copies are of whole pages; structures are not.
    std::uint64_t words[kMostMimallocShapeBytes / 8];
    for (std::size_t i = 0; i < layout_.shape->bytes / 8u; ++i)
      if (!g_structures.get(from + i * 8, &words[i])) return false;
    *bits = {static_cast<std::uint32_t>(words[0]), static_cast<std::uint32_t>(words[0] >> 32)};
    *to = read_mimalloc_structure(*layout_.shape, reinterpret_cast<const unsigned char*>(words), from);
    return true;
  }

 private:
  const MimallocLayout& layout_;
  std::uintptr_t at_;
};

std::uintptr_t segment_bytes(const MimallocLayout& layout) noexcept {
  return layout.shape->segment_slices * kMimallocSlice;
}

/// Whether the array that `layout` supposes knows the live block `block`.
bool knows(const MimallocLayout& layout, std::uintptr_t block, std::uint64_t usable,
           MimallocStructure* found) noexcept {
  const std::uintptr_t segment = block & ~(segment_bytes(layout) - 1);
  const Segment in(layout, segment);
  const std::size_t index = block % segment_bytes(layout) / kMimallocSlice;
  const std::size_t slices = layout.shape->segment_slices;
  SegmentEnd end;
  SliceBits bits;
  // In secure builds the last slice is a guard.
  if (!in.read_end(&end) || end.slices != slices || end.entries > slices || end.entries + 1 < slices ||
      end.header_slices == 0 || end.header_slices > kMaxHeaderSlices || !in.read(index, &bits, found) ||
      bits.slices != 1 || bits.slices_back != 0)
    return false;
  const std::uintptr_t page = segment + index * kMimallocSlice;
  return describes_mimalloc_block(*found, block, usable, page, page + kMimallocSlice);
}

}  // namespace

MimallocLayout find_mimalloc_segments(const MimallocAccess& access, const ProcessMemory& process) noexcept {
  constexpr std::size_t kFirstFirst = 128, kFirsts = 112;
  MimallocCandidate candidates[kMimallocShapeCount][kFirsts]{};
  MimallocProbes probes(access);
  while (probes.next()) {
    g_structures.begin(process);
    for (std::size_t shape = 0; shape < kMimallocShapeCount; ++shape) {
      if (kMimallocShapes[shape].family != MimallocFamily::kSegments) continue;
      for (std::size_t i = 0; i < kFirsts; ++i) {
        MimallocCandidate& candidate = candidates[shape][i];
        if (candidate.is_out()) continue;
        const MimallocLayout supposed{.shape = &kMimallocShapes[shape], .first = kFirstFirst + i * 8};
        MimallocStructure found;
        candidate.add(knows(supposed, probes.block(), probes.usable(), &found) ? &found : nullptr);
      }
    }
  }
  MimallocLayout layout{};
  for (std::size_t shape = 0; shape < kMimallocShapeCount; ++shape)
    for (std::size_t i = 0; i < kFirsts; ++i) {
      if (!candidates[shape][i].fits()) continue;
      if (layout.shape) return {};  // two descriptions of one thing: none is believed
      layout = {.shape = &kMimallocShapes[shape], .first = kFirstFirst + i * 8};
    }
  return layout;
}

namespace {

/// How many pages in use a segment at `at` has, if all that it says of itself adds up; 0 if it does not.
unsigned pages_that_add_up(const MimallocLayout& supposed, std::uintptr_t at) noexcept {
  const Segment segment(supposed, at);
  const std::size_t slices = supposed.shape->segment_slices;
  SegmentEnd end;
  SliceBits bits;
  MimallocStructure s;
  if (!segment.read_end(&end) || end.slices != slices || end.entries > slices || end.entries + 1 < slices ||
      end.header_slices == 0 || end.header_slices > kMaxHeaderSlices || !segment.read(0, &bits, &s) ||
      bits.slices != end.header_slices || bits.slices_back != 0)
    return 0;
  unsigned in_use = 0;
  for (std::size_t i = end.header_slices; i < end.entries; i += bits.slices) {
    if (!segment.read(i, &bits, &s) || bits.slices == 0 || i + bits.slices > end.slices) return 0;
    if (s.block_bytes <= 1) continue;  // a free span
    const std::uintptr_t page = at + i * kMimallocSlice;
    if (!describes_mimalloc_page(s, page, page + bits.slices * kMimallocSlice)) return 0;
    ++in_use;
  }
  return in_use;
}

}  // namespace

MimallocLayout find_mimalloc_segments(const ProcessMemory& process,
                                      std::span<const std::uintptr_t> pages) noexcept {
  constexpr std::size_t kFirstFirst = 128, kFirsts = 112;
  constexpr unsigned kEnough = 3;
  MimallocLayout layout{};
  unsigned most = kEnough - 1;
  bool is_shared = false;
  g_structures.begin(process);
  for (const MimallocShape& shape : kMimallocShapes) {
    if (shape.family != MimallocFamily::kSegments) continue;
    std::uintptr_t before = 0;
    for (const std::uintptr_t page : pages) {
      MimallocLayout supposed{.shape = &shape};
      const std::uintptr_t segment = page & ~(segment_bytes(supposed) - 1);
      if (segment == before || segment == 0) continue;
      before = segment;
      for (std::size_t i = 0; i < kFirsts; ++i) {
        supposed.first = kFirstFirst + i * 8;
        const unsigned in_use = pages_that_add_up(supposed, segment);
        if (in_use == most && layout.shape)
          is_shared |= layout.shape != supposed.shape || layout.first != supposed.first;
        if (in_use <= most) continue;
        most = in_use;
        layout = supposed;
        is_shared = false;
      }
    }
  }
  return is_shared ? MimallocLayout{} : layout;
}

bool is_in_mimalloc_segment(const ProcessMemory& process, const MimallocLayout& layout,
                            std::uintptr_t page) noexcept {
  g_structures.begin(process);
  return pages_that_add_up(layout, page & ~(segment_bytes(layout) - 1)) > 0;
}

namespace {

class SegmentCensus {
 public:
  SegmentCensus(const MimallocLayout& layout, const CensusRequest& request) noexcept
      : layout_(layout),
        segment_bytes_(segment_bytes(layout)),
        request_(request),
        resident_(request.resident),
        pages_(request) {}

  CensusResult run() noexcept {
    return pages_.run([this] {
      for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
    });
  }

 private:
  /// Segments and arenas begin at multiples of a segment's size. What lies before the first one, or after the
  /// last in a mapping that does not reach the next, is what threads and arenas are described by.
  void sweep(AddressRange range) noexcept {
    const std::uintptr_t first = align_up(range.begin, segment_bytes_);
    report_books(range.begin, first < range.end ? first : range.end);
    for (std::uintptr_t at = first, end; at < range.end; at = end) {
      end = at + segment_bytes_;
      std::uintptr_t used_end = at;
      if (resident_.contains(at)) used_end = sweep_segment(at);
      if (used_end > at) end = align_up(used_end, segment_bytes_);
      if (end > range.end) report_books(used_end, range.end);
    }
  }

  /// Blocks that another thread has freed wait on lists whose heads lie there, and look live.
  void report_books(std::uintptr_t begin, std::uintptr_t end) noexcept {
    pages_.report_metadata(begin, end);
    if (begin < end) request_.report_block(begin, end - begin, false);
  }

  /// \return end of the segment; its beginning if none begins there
  std::uintptr_t sweep_segment(std::uintptr_t at) noexcept {
    g_structures.begin(request_.process);
    const Segment segment(layout_, at);
    SliceBits bits;
    MimallocStructure s;
    // The first entry stands for the segment's own header.
    if (!segment.read(0, &bits, &s) || bits.slices == 0 || bits.slices > kMaxHeaderSlices ||
        bits.slices_back != 0)
      return at;
    SegmentEnd end;
    if (!segment.read_end(&end) || end.entries > layout_.shape->segment_slices ||
        end.header_slices != bits.slices || end.slices < end.entries) {
      ++pages_.result.raced;
      return at + segment_bytes_;
    }
    const std::size_t header = bits.slices;
    for (std::size_t i = header; i < end.entries; i += bits.slices) {
      if (!segment.read(i, &bits, &s) || bits.slices == 0 || i + bits.slices > end.slices) {
        ++pages_.result.raced;
        break;
      }
      if (s.block_bytes > 1) report(at + i * kMimallocSlice, bits.slices * kMimallocSlice, s);
    }
    pages_.report_metadata(at, at + header * kMimallocSlice);
    return at + end.slices * kMimallocSlice;
  }

  void report(std::uintptr_t begin, std::uint64_t bytes, const MimallocStructure& s) noexcept {
    const bool size_is_cut = layout_.shape->block_bytes == 4 && s.block_bytes >= kHugeBlock;
    // The first block that another thread frees waits on its heap's list; while it does, the others go to the
    // page's.
    constexpr unsigned kNoDelayedFree = 2;
    pages_.report({.begin = begin,
                   .end = begin + bytes,
                   .block_bytes = size_is_cut ? bytes : s.block_bytes,
                   .used = s.used,
                   .reserved = s.reserved,
                   .thread_free = s.thread_free & ~std::uintptr_t{3},
                   .keys = {s.keys[0], s.keys[1]},
                   .structure = s.at,
                   .ownerless = s.ownerless,
                   .first_block = s.first_block,
                   .free_lists = {s.free, s.local_free}},
                  (s.thread_free & 3) == kNoDelayedFree);
  }

  const MimallocLayout& layout_;
  const std::uintptr_t segment_bytes_;
  const CensusRequest& request_;
  RangeCursor resident_;
  MimallocPages pages_;
};

}  // namespace

CensusResult census_of_mimalloc_segments(const MimallocLayout& layout,
                                         const CensusRequest& request) noexcept {
  return SegmentCensus(layout, request).run();
}

}  // namespace mallard::heaps
