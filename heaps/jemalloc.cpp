// SPDX-License-Identifier: Apache-2.0
// The census of a jemalloc, from its page map: a tree that leads from each page to the extent that begins,
// ends or (slabs) lies there. jemalloc reads it without a lock in every free, and never takes a node back, so
// that anybody may. Layout: include/jemalloc/internal/{rtree,edata}.h of jemalloc 5.3.0 with 48 address bits;
// it is believed only after it has been found to describe a block that we know. The public
// experimental.utilization.batch_query would read the same, but crashes on addresses without a tree node and
// cannot tell a full slab of one page from a free page.
#include "heaps/jemalloc.hpp"
#include "base/text.hpp"
#include "heaps/heap_reader.hpp"

namespace mallard::heaps {
namespace {

constexpr std::uintptr_t kLeafSpan = std::uintptr_t{1} << 30;  ///< addresses of one leaf of the tree
constexpr unsigned kMaxClasses = 232;                          ///< an extent of this class is free
constexpr unsigned kStateActive = 0;

struct LeafElement {
  std::uint64_t bits;
  bool slab() const noexcept { return bits & 1; }
  unsigned state() const noexcept { return bits >> 2 & 7; }
  unsigned size_class() const noexcept { return static_cast<unsigned>(bits >> 48); }
  std::uintptr_t extent() const noexcept { return bits & 0x0000'ffff'ffff'ff80; }
};

/// The beginning of an edata_t.
struct Extent {
  std::uint64_t bits, address, size_and_serial;
  bool slab() const noexcept { return bits >> 12 & 1; }
  unsigned size_class() const noexcept { return bits >> 20 & 0xff; }
  std::uint64_t free_regions() const noexcept { return bits >> 28 & 0x3ff; }
  std::uintptr_t begin() const noexcept { return address & ~(kPageBytes - 1); }  // large blocks start off it
  std::uint64_t bytes() const noexcept { return size_and_serial & ~(kPageBytes - 1); }
};

class JemallocCensus {
 public:
  JemallocCensus(const JemallocAccess& access, const CensusRequest& request) noexcept
      : access_(access), request_(request), process_(request.process) {}

  CensusResult run() noexcept;

 private:
  template <typename T>
  T control(const char* name, T otherwise) noexcept {
    T value;
    std::size_t size = sizeof value;
    return access_.mallctl(name, &value, &size, nullptr, 0) == 0 ? value : otherwise;
  }
  void read_classes(const char* prefix, unsigned count) noexcept;
  bool find_root() noexcept;
  bool describes(std::uintptr_t leaf, std::uintptr_t block, std::uint64_t usable) noexcept;
  bool read_extent(std::uintptr_t at, Extent* to) noexcept;
  void sweep(AddressRange range) noexcept;
  void report_extent(const LeafElement& element, const Extent& extent) noexcept;
  void report_metadata(std::uintptr_t end) noexcept;

  const JemallocAccess& access_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  CensusResult result_{.unit_name = "slab"};
  std::uint64_t class_bytes_[kMaxClasses];
  unsigned classes_ = 0;
  bool holes_in_map_ = false;          ///< pages without an extent may be free ones, not books
  bool lost_ = false;                  ///< since a race: pages without an extent may be the inside of one
  std::uintptr_t metadata_begin_ = 0;  ///< pages without an extent up to the sweep's position; 0 = none
};

// The root never moves; one jemalloc serves the process.
constinit std::uintptr_t g_root = 0;
constinit PageCopies g_copies;

void JemallocCensus::read_classes(const char* prefix, unsigned count) noexcept {
  for (unsigned i = 0; i < count && classes_ < kMaxClasses; ++i) {
    FixedText<48> name;
    name.add(view_of(prefix)).add_unsigned(i).add(".size");
    class_bytes_[classes_++] = control<std::size_t>(name.c_str(), 0);
  }
}

bool JemallocCensus::read_extent(std::uintptr_t at, Extent* to) noexcept {
  ++result_.reads;
  if (access_.arenas_can_end) return g_copies.get(at, to);
  *to = {process_.word(at), process_.word(at + 8), process_.word(at + 16)};
  return true;
}

/// Whether the words at `leaf`, taken for a leaf of the tree, know the live small block `block`.
bool JemallocCensus::describes(std::uintptr_t leaf, std::uintptr_t block, std::uint64_t usable) noexcept {
  LeafElement element;
  Extent extent;
  const std::uintptr_t at = leaf + block % kLeafSpan / kPageBytes * sizeof element.bits;
  if (!process_.get(at, &element.bits)) return false;
  if (!element.slab() || element.state() != kStateActive || element.size_class() >= classes_ ||
      class_bytes_[element.size_class()] != usable || !process_.get(element.extent(), &extent))
    return false;
  return extent.slab() && extent.size_class() == element.size_class() && extent.address % kPageBytes == 0 &&
         block >= extent.begin() && block - extent.begin() < extent.bytes() &&
         (block - extent.begin()) % usable == 0 && extent.bytes() % usable == 0 &&
         extent.free_regions() < extent.bytes() / usable;
}

bool JemallocCensus::find_root() noexcept {
  if (g_root) return true;
  constexpr std::size_t kProbeBytes = 100;
  void* probe = access_.malloc(kProbeBytes);
  if (!probe) return false;
  const std::uintptr_t block = address_of(probe);
  const std::uint64_t usable = access_.usable_size(probe);
  const std::uintptr_t index = block / kLeafSpan * sizeof(std::uintptr_t);
  for (std::uintptr_t at = access_.data.begin + index; at + sizeof at <= access_.data.end; at += sizeof at) {
    const auto leaf = process_.word(at);
    if (leaf == 0 || leaf % 64 != 0 || !describes(leaf, block, usable)) continue;
    g_root = at - index;
    break;
  }
  access_.free(probe);
  return g_root != 0;
}

void JemallocCensus::report_metadata(std::uintptr_t end) noexcept {
  if (metadata_begin_ != 0 && metadata_begin_ < end && !holes_in_map_)
    request_.report({metadata_begin_, end, UnitKind::kMetadata, 0, 0, 0});
  metadata_begin_ = 0;
}

void JemallocCensus::report_extent(const LeafElement& element, const Extent& extent) noexcept {
  const unsigned size_class = element.size_class();
  if (element.state() != kStateActive || size_class >= classes_) return;  // free, or on its way to be
  const std::uint64_t block_bytes = class_bytes_[size_class];
  const std::uint64_t regions = element.slab() && block_bytes ? extent.bytes() / block_bytes : 1;
  const std::uint64_t free = element.slab() ? extent.free_regions() : 0;
  if (extent.size_class() != size_class || free > regions || regions * block_bytes > extent.bytes()) {
    ++result_.raced;
    return;
  }
  const std::uint64_t blocks = regions - free;
  if (blocks == 0) return;
  request_.report({extent.begin(), extent.begin() + extent.bytes(), UnitKind::kBlocks, block_bytes,
                   blocks * block_bytes, 0});
}

void JemallocCensus::sweep(AddressRange range) noexcept {
  g_copies.begin(process_);
  lost_ = false;
  std::uintptr_t done = range.begin;  // nothing before it is reported again
  for (std::uintptr_t at = range.begin; at < range.end;) {
    const auto leaf = process_.word(g_root + at / kLeafSpan * sizeof at);
    const LeafElement element{leaf ? process_.word(leaf + at % kLeafSpan / kPageBytes * 8) : 0};
    Extent extent;
    if (!element.extent()) {
      if (!metadata_begin_ && !lost_) metadata_begin_ = at;
      at = leaf ? at + kPageBytes : align_up(at + 1, kLeafSpan);
      continue;
    }
    if (!read_extent(element.extent(), &extent) || extent.begin() > at || extent.bytes() == 0 ||
        at - extent.begin() >= extent.bytes() || extent.bytes() > range.end - extent.begin()) {
      ++result_.raced;  // it is being split or merged: its parts are in the map, if not here then further on
      lost_ = true;
      metadata_begin_ = 0;  // an extent that we are about to meet may reach back over it
      at += kPageBytes;
      continue;
    }
    lost_ = false;
    if (extent.begin() != at) ++result_.raced;  // it has grown together since we passed its beginning
    report_metadata(extent.begin());
    if (extent.begin() >= done) report_extent(element, extent);
    at = done = extent.begin() + extent.bytes();
  }
  report_metadata(range.end);
}

CensusResult JemallocCensus::run() noexcept {
  std::uint64_t epoch = 1;
  std::size_t size = sizeof epoch;
  access_.mallctl("epoch", &epoch, &size, &epoch, size);  // refreshes tcache_bytes
  result_.thread_cached_bytes = control<std::size_t>("stats.arenas.4096.tcache_bytes", 0);
  result_.internal_bytes = control<std::size_t>("stats.arenas.4096.internal", 0);  // thread caches themselves
  holes_in_map_ = control("opt.hpa", false);
  read_classes("arenas.bin.", control("arenas.nbins", 0U));
  read_classes("arenas.lextent.", control("arenas.nlextents", 0U));
  if (classes_ != kMaxClasses || control<std::size_t>("arenas.page", 0) != kPageBytes || !find_root()) {
    result_.why_not = "the page map of this jemalloc is not laid out as in version 5.3.0";
    return result_;
  }
  for (std::size_t i = 0; i < request_.heap.size(); ++i) {
    AddressRange range = request_.heap[i];  // extents may reach from one mapping into the next
    while (i + 1 < request_.heap.size() && request_.heap[i + 1].begin == range.end)
      range.end = request_.heap[++i].end;
    sweep(range);
  }
  result_.done = true;
  return result_;
}

}  // namespace

CensusResult jemalloc_census(const JemallocAccess& access, const CensusRequest& request) noexcept {
  return JemallocCensus(access, request).run();
}

}  // namespace mallard::heaps
