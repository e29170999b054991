// SPDX-License-Identifier: Apache-2.0
// The census of a jemalloc, from its page map: a tree that leads from each page to the extent that begins,
// ends or (slabs) lies there. jemalloc reads it without a lock in every free, and never takes a table back,
// so that anybody may. A layout in heaps/jemalloc_layout.hpp is believed if the map, read by it, describes
// blocks that we know, small and large. The public experimental.utilization.batch_query would read the same,
// but crashes on addresses without a table and cannot tell a full slab of one page from a free page.
#include "heaps/jemalloc.hpp"

#include "base/text.hpp"
#include "heaps/heap_reader.hpp"
#include "heaps/jemalloc_caches.hpp"
#include "heaps/jemalloc_page_map.hpp"
#include "heaps/jemalloc_regions.hpp"

namespace mallard::heaps {
namespace {

class JemallocCensus {
 public:
  JemallocCensus(JemallocAccess& access, const CensusRequest& request) noexcept
      : access_(access), request_(request), process_(request.process), resident_(request.resident) {}

  CensusResult run() noexcept;

 private:
  /// A block that we know.
  struct Probe {
    std::uintptr_t block;
    std::uint64_t usable;
  };

  template <typename T>
  T control(const char* name, T otherwise) noexcept {
    T value;
    std::size_t size = sizeof value;
    return access_.mallctl && access_.mallctl(name, &value, &size, nullptr, 0) == 0 ? value : otherwise;
  }
  void read_controls() noexcept;
  void suppose_controls() noexcept;
  void read_classes(const char* prefix, unsigned count) noexcept;
  std::uint64_t block_bytes(const JemallocPages& extent) const noexcept;
  bool find_map() noexcept;
  bool find_root(const JemallocLayout& layout, std::span<const Probe> probes) noexcept;
  bool describes(const JemallocMap& map, const Probe& probe) noexcept;
  bool read_extent(std::uintptr_t at, JemallocExtent* to) noexcept;
  void sweep(AddressRange range) noexcept;
  void report_extent(const JemallocElement& element, const JemallocPages& extent) noexcept;
  void report_regions(std::uintptr_t at, const JemallocPages& extent, std::uint64_t each) noexcept;
  void report_metadata(std::uintptr_t end) noexcept;
  template <typename Visit>
  void each_base_block(std::uintptr_t begin, std::uintptr_t end, Visit visit) noexcept;

  JemallocAccess& access_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  RangeCursor resident_;
  CensusResult result_{.unit_name = "slab"};
  std::uint64_t class_bytes_[kJemallocMostClasses];
  unsigned classes_ = 0, small_classes_ = 0;
  bool large_by_extent_ = false;       ///< large blocks have the size of their extent, not of a class
  std::uint64_t pad_bytes_ = 0;        ///< of such an extent
  bool holes_in_map_ = false;          ///< pages without an extent may be free ones, not books
  bool lost_ = false;                  ///< since a race: pages without an extent may be the inside of one
  JemallocRegions regions_;  ///< where somebody wants the blocks one by one
  bool learns_regions_ = false;
  std::uintptr_t metadata_begin_ = 0;  ///< pages without an extent up to the sweep's position; 0 = none
};

constinit PageCopies g_copies;

void JemallocCensus::read_classes(const char* prefix, unsigned count) noexcept {
  for (unsigned i = 0; i < count && classes_ < kJemallocMostClasses; ++i) {
    FixedText<48> name;
    name.add(view_of(prefix)).add_unsigned(i).add(".size");
    class_bytes_[classes_++] = control<std::size_t>(name.c_str(), 0);
  }
}

void JemallocCensus::read_controls() noexcept {
  if (!access_.mallctl) return suppose_controls();
  std::uint64_t epoch = 1;
  std::size_t size = sizeof epoch;
  access_.mallctl("epoch", &epoch, &size, &epoch, size);  // refreshes tcache_bytes
  result_.thread_cached_bytes = control<std::size_t>("stats.arenas.4096.tcache_bytes", 0);
  result_.internal_bytes = control<std::size_t>("stats.arenas.4096.internal", 0);  // thread caches themselves
  holes_in_map_ = control("opt.hpa", false);
  large_by_extent_ = control("opt.disable_large_size_classes", false);
  const bool pads = control("opt.cache_oblivious", control("config.cache_oblivious", true));
  pad_bytes_ = pads ? kPageBytes : 0;
  read_classes("arenas.bin.", control("arenas.nbins", 0U));
  small_classes_ = classes_;
  read_classes("arenas.lextent.", control("arenas.nlextents", 0U));
}

/// What can be told without asking it: of another process.
void JemallocCensus::suppose_controls() noexcept {
  holes_in_map_ = large_by_extent_ = true;
  pad_bytes_ = kPageBytes;
  classes_ = jemalloc_classes(class_bytes_, &small_classes_);
}

bool JemallocCensus::read_extent(std::uintptr_t at, JemallocExtent* to) noexcept {
  ++result_.reads;
  if (access_.arenas_can_end) return g_copies.get(at, to);
  *to = {process_.word(at), process_.word(at + 8), process_.word(at + 16)};
  return true;
}

/// Usable bytes of the blocks of an extent whose class is known.
std::uint64_t JemallocCensus::block_bytes(const JemallocPages& extent) const noexcept {
  if (!large_by_extent_ || extent.size_class < small_classes_ ||
      (!access_.mallctl && class_bytes_[extent.size_class] == extent.bytes))  // it does not pad
    return class_bytes_[extent.size_class];
  return extent.bytes > pad_bytes_ ? extent.bytes - pad_bytes_ : 0;
}

/// Whether `map` knows the block.
bool JemallocCensus::describes(const JemallocMap& map, const Probe& probe) noexcept {
  const JemallocPageMap pages(process_, map);
  const JemallocElement element = pages.try_look_up(probe.block);
  JemallocExtent words;
  if (element.extent == 0 || element.size_class >= classes_ || !process_.get(element.extent, &words))
    return false;
  const JemallocPages extent = pages.decode(words);
  if (!extent.active || extent.slab != element.slab || extent.size_class != element.size_class ||
      block_bytes(extent) != probe.usable || probe.block < extent.begin || probe.block >= extent.end())
    return false;
  if (!extent.slab) return extent.first == probe.block && probe.usable <= extent.bytes;
  return extent.first == extent.begin && (probe.block - extent.begin) % probe.usable == 0 &&
         extent.bytes % probe.usable == 0 && extent.free_regions < extent.bytes / probe.usable;
}

bool JemallocCensus::find_root(const JemallocLayout& layout, std::span<const Probe> probes) noexcept {
  const std::uintptr_t index = layout.tables.index[0].of(probes[0].block) * sizeof index;
  for (std::uintptr_t at = access_.data.begin + index; at + sizeof at <= access_.data.end; at += sizeof at) {
    const auto table = process_.word(at);
    if (table == 0 || table % 64 != 0) continue;
    const JemallocMap map{at - index, &layout};
    bool all = true;
    for (const Probe& probe : probes) all = all && describes(map, probe);
    if (!all) continue;
    access_.map = map;
    return true;
  }
  return false;
}

bool JemallocCensus::find_map() noexcept {
  if (access_.map.root || !access_.mallctl) return access_.map.root != 0;
  constexpr std::size_t kProbeBytes[] = {100, 3000, 20'000, 300'000};
  constexpr int kProbes = sizeof kProbeBytes / sizeof kProbeBytes[0];
  Probe probes[kProbes];
  int n = 0;
  for (const std::size_t bytes : kProbeBytes) {
    void* block = access_.malloc(bytes);
    if (!block) break;
    probes[n++] = {address_of(block), access_.usable_size(block)};
  }
  for (const JemallocLayout& layout : kJemallocLayouts)
    if (n == kProbes && find_root(layout, probes)) break;
  for (int i = 0; i < n; ++i) access_.free(reinterpret_cast<void*>(probes[i].block));
  return access_.map.root != 0;
}

/// The blocks of jemalloc's own memory in a range without extents.
template <typename Visit>
void JemallocCensus::each_base_block(std::uintptr_t begin, std::uintptr_t end, Visit visit) noexcept {
  std::uintptr_t at = align_up(begin, kJemallocBaseBlockBytes);
  while (at < end) {
    JemallocBaseBlock block;
    const bool is_one = resident_.contains(at) && process_.get(at, &block) && is_base_block(at, block);
    const std::uintptr_t next = at + (is_one ? block.bytes : kJemallocBaseBlockBytes);
    if (is_one) visit(at, next < end ? next : end);
    at = next;
  }
}

void JemallocCensus::report_metadata(std::uintptr_t end) noexcept {
  const std::uintptr_t begin = metadata_begin_;
  metadata_begin_ = 0;
  if (begin == 0 || begin >= end || learns_regions_) return;
  const auto report = [this](std::uintptr_t from, std::uintptr_t to) {
    request_.report({from, to, UnitKind::kMetadata, 0, 0, 0});
  };
  if (holes_in_map_) each_base_block(begin, end, report);
  else report(begin, end);
  if (access_.map.layout->counts_large_cached) return;
  JemallocCaches caches(request_, {class_bytes_, classes_}, small_classes_, control("arenas.nhbins", 0U));
  each_base_block(begin, end, [&](std::uintptr_t block, std::uintptr_t) {
    result_.thread_cached_bytes += caches.large_bytes(block);
  });
}

void JemallocCensus::report_extent(const JemallocElement& element, const JemallocPages& extent) noexcept {
  if (!extent.active || extent.size_class >= classes_) return;  // free, or on its way to be
  const std::uint64_t each = block_bytes(extent);
  const std::uint64_t regions = extent.slab && each ? extent.bytes / each : 1;
  const std::uint64_t free = extent.slab ? extent.free_regions : 0;
  if (extent.size_class != element.size_class || free > regions || regions * each > extent.bytes) {
    ++result_.raced;
    return;
  }
  if (learns_regions_) {
    if (extent.slab) regions_.learn(process_, element.extent, regions, free);
    return;
  }
  const std::uint64_t blocks = regions - free;
  if (blocks == 0) return;
  if (request_.on_block) report_regions(element.extent, extent, each);
  request_.report({extent.begin, extent.end(), UnitKind::kBlocks, each, blocks * each, 0});
}

void JemallocCensus::report_regions(std::uintptr_t at, const JemallocPages& extent,
                                    std::uint64_t each) noexcept {
  if (!extent.slab) return request_.report_block(extent.first, each);
  const std::uint64_t regions = each ? extent.bytes / each : 0;
  JemallocRegions::Free free;
  if (extent.free_regions > 0 && !regions_.read(process_, at, regions, extent.free_regions, &free))
    return request_.report_block(extent.begin, extent.bytes, false);
  for (std::uint64_t i = 0; i < regions; ++i)
    if (extent.free_regions == 0 || !free.has(i)) request_.report_block(extent.begin + i * each, each);
}

void JemallocCensus::sweep(AddressRange range) noexcept {
  const JemallocPageMap pages(process_, access_.map);
  g_copies.begin(process_);
  lost_ = false;
  std::uintptr_t done = range.begin;  // nothing before it is reported again
  for (std::uintptr_t at = range.begin, next; at < range.end;) {
    const JemallocElement element = pages.look_up(at, &next);
    if (!element.extent) {
      if (!metadata_begin_ && !lost_) metadata_begin_ = at;
      at = next;
      continue;
    }
    JemallocExtent words;
    const bool read = read_extent(element.extent, &words);
    const JemallocPages extent = read ? pages.decode(words) : JemallocPages{};
    if (!read || extent.begin > at || extent.bytes == 0 || at - extent.begin >= extent.bytes ||
        extent.bytes > range.end - extent.begin) {
      ++result_.raced;  // it is being split or merged: its parts are in the map, if not here then further on
      lost_ = true;
      metadata_begin_ = 0;  // an extent that we are about to meet may reach back over it
      at += kPageBytes;
      continue;
    }
    lost_ = false;
    if (extent.begin != at) ++result_.raced;  // it has grown together since we passed its beginning
    report_metadata(extent.begin);
    if (extent.begin >= done) report_extent(element, extent);
    at = done = extent.end();
  }
  report_metadata(range.end);
}

CensusResult JemallocCensus::run() noexcept {
  read_controls();
  if ((access_.mallctl && control<std::size_t>("arenas.page", 0) != kPageBytes) || small_classes_ == 0 ||
      classes_ == kJemallocMostClasses || !find_map()) {
    result_.why_not = "the page map of this jemalloc is laid out as in none of the versions 5.1 to 5.3";
    return result_;
  }
  learns_regions_ = request_.on_block != nullptr;
  if (learns_regions_) {
    for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
    learns_regions_ = false;
  }
  for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
  result_.done = true;
  return result_;
}

}  // namespace

CensusResult jemalloc_census(JemallocAccess& access, const CensusRequest& request) noexcept {
  return JemallocCensus(access, request).run();
}

}  // namespace mallard::heaps
