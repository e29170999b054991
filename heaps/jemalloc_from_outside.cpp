// SPDX-License-Identifier: Apache-2.0
// Finds the page map of a jemalloc that cannot be asked for blocks: by pages of which some are its own. A map
// is believed if the extents to which it leads lie where it says, and say of themselves what it says of them.
#include <algorithm>

#include "heaps/heap_reader.hpp"
#include "heaps/jemalloc_page_map.hpp"

namespace mallard::heaps {
namespace {

constexpr std::size_t kWordsAtOnce = 8192;
constexpr std::uint64_t kLooksOfAChunk = 256;

constinit PageCopies g_copies;
/// Extents that have to be described: each gives some 40 bits, which chance does not.
constexpr std::size_t kEnough = 3;

class Finder {
 public:
  Finder(const ProcessMemory& process, AddressRange data, std::span<const std::uintptr_t> pages) noexcept
      : process_(process), data_(data), pages_(pages) {
    classes_ = jemalloc_classes(class_bytes_, &small_);
  }

  JemallocMap run() noexcept {
    g_copies.begin(process_);
    for (const JemallocLayout& layout : kJemallocLayouts)
      for (std::size_t i = 0; i < pages_.size(); ++i) {
        const std::uint64_t index = layout.tables.index[0].of(pages_[i]);
        // Pages under one entry of the root's table lead to the same search.
        const bool is_first = std::none_of(pages_.begin(), pages_.begin() + i, [&](std::uintptr_t page) {
          return layout.tables.index[0].of(page) == index;
        });
        if (!is_first) continue;
        if (const std::uintptr_t root = search(layout, index)) return {root, &layout};
      }
    return {};
  }

 private:
  /// \return the root by whose entry `index` a table hangs that describes enough pages; 0 if there is none
  std::uintptr_t search(const JemallocLayout& layout, std::uint64_t index) noexcept {
    static constinit std::uint64_t words[kWordsAtOnce]{};
    for (std::uintptr_t at = data_.begin + index * sizeof *words; at < data_.end;) {
      const std::size_t count = std::min<std::size_t>(kWordsAtOnce, (data_.end - at) / sizeof *words);
      looks_ += kLooksOfAChunk;
      if (count == 0 || looks_ > kMostLooks || !process_.copy(words, at, count * sizeof *words)) return 0;
      for (std::size_t i = 0; i < count; ++i)
        if (words[i] >= kPageBytes && words[i] % 64 == 0 && words[i] >> 47 == 0 &&
            describes_enough({at + (i - index) * sizeof *words, &layout}))
          return at + (i - index) * sizeof *words;
      at += count * sizeof *words;
    }
    return 0;
  }

  bool describes_enough(const JemallocMap& map) noexcept {
    std::uintptr_t met[kEnough];
    std::size_t count = 0;
    unsigned misfits = 0;
    for (const std::uintptr_t page : pages_) {
      if (++looks_ > kMostLooks) return false;
      bool is_misfit = false;
      const std::uintptr_t extent = extent_of(map, page, &is_misfit);
      if (is_misfit && count == 0 && ++misfits == kMostMisfits) return false;
      if (extent == 0 || std::find(met, met + count, extent) != met + count) continue;
      met[count++] = extent;
      if (count == kEnough) return true;
    }
    return false;
  }

  /// \param is_misfit  set where the map has what no map would say, but for a race
  /// \return where the extent begins that has the page, if map and extent agree about it; else 0
  std::uintptr_t extent_of(const JemallocMap& map, std::uintptr_t page, bool* is_misfit) noexcept {
    const JemallocPageMap pages(process_, map);
    const JemallocElement element = pages.try_look_up(page, [is_misfit](std::uintptr_t from, std::uint64_t* to) {
      const bool is_there = g_copies.get(from, to);
      *is_misfit |= !is_there;
      return is_there;
    });
    JemallocExtent words;
    if (element.extent == 0) return 0;
    *is_misfit = true;
    if (!g_copies.get(element.extent, &words)) return 0;
    const JemallocPages extent = pages.decode(words);
    if (page < extent.begin || page - extent.begin >= extent.bytes || extent.begin == 0 ||
        extent.bytes >> 46 != 0)
      return 0;
    *is_misfit = false;
    if (!extent.active) return 0;  // of a free one less is known: it is none that tells
    if (extent.slab != element.slab || extent.size_class != element.size_class ||
        extent.size_class >= classes_)
      return 0;
    if (!extent.slab) return extent.size_class >= small_ ? extent.begin : 0;
    const std::uint64_t each = class_bytes_[extent.size_class];
    const bool is_whole = extent.size_class < small_ && extent.bytes % each == 0 &&
                          extent.free_regions <= extent.bytes / each && extent.first == extent.begin;
    return is_whole ? extent.begin : 0;
  }

  const ProcessMemory& process_;
  const AddressRange data_;
  const std::span<const std::uintptr_t> pages_;
  std::uint64_t class_bytes_[kJemallocMostClasses];
  unsigned classes_, small_;
  std::uint64_t looks_ = 0;
};

}  // namespace

JemallocMap find_jemalloc_map(const ProcessMemory& process, AddressRange data,
                              std::span<const std::uintptr_t> pages) noexcept {
  return Finder(process, data, pages).run();
}

bool is_jemallocs(const ProcessMemory& process, const JemallocMap& map, std::uintptr_t page) noexcept {
  if (JemallocPageMap(process, map).try_look_up(page).extent != 0) return true;
  JemallocBaseBlock block;
  return page % kJemallocBaseBlockBytes == 0 && process.get(page, &block) && is_base_block(page, block);
}

}  // namespace mallard::heaps
