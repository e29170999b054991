// SPDX-License-Identifier: Apache-2.0
// A jemalloc's page map, read by one of the layouts that are known.
#pragma once

#include <initializer_list>

#include "heaps/heap_reader.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/jemalloc_layout.hpp"

namespace mallard::heaps {

/// An extent, decoded.
struct JemallocPages {
  bool slab, active;
  std::uint64_t size_class, free_regions;
  std::uintptr_t begin;  ///< large blocks start off it
  std::uintptr_t first;  ///< block
  std::uint64_t bytes;

  std::uintptr_t end() const noexcept { return begin + bytes; }
};

struct JemallocElement {
  std::uintptr_t extent;  ///< 0 = none
  bool slab;
  std::uint64_t size_class;
};

/// A page map, by one layout.
class JemallocPageMap {
 public:
  JemallocPageMap(const ProcessMemory& process, const JemallocMap& map) noexcept
      : process_(process), map_(map), tables_(map.layout->tables) {}

  /// What the map says of the page at `at`. \param next  where there is more to see if it says nothing
  JemallocElement look_up(std::uintptr_t at, std::uintptr_t* next) const noexcept {
    return find(at, next, [this](std::uintptr_t from) { return process_.word(from); });
  }
  /// The same where it may be no map at all.
  JemallocElement try_look_up(std::uintptr_t at) const noexcept {
    return try_look_up(at, [this](std::uintptr_t from, std::uint64_t* to) { return process_.get(from, to); });
  }
  /// \param get  copies an aligned word; false if it cannot
  template <typename Get>
  JemallocElement try_look_up(std::uintptr_t at, Get get) const noexcept {
    std::uintptr_t next;
    return find(at, &next, [&get](std::uintptr_t from) {
      std::uint64_t word;
      return from % sizeof word == 0 && get(from, &word) ? word : 0;
    });
  }
  JemallocPages decode(const JemallocExtent& from) const noexcept {
    const JemallocExtentFields& fields = map_.layout->extent;
    return {.slab = fields.slab.of(from.bits) != 0,
            .active = fields.state.of(from.bits) == kJemallocActive,
            .size_class = fields.size_class.of(from.bits),
            .free_regions = fields.free_regions.of(from.bits),
            .begin = from.address & ~(kPageBytes - 1),
            .first = from.address,
            .bytes = from.size_and_serial & ~(kPageBytes - 1)};
  }

 private:
  template <typename Word>
  JemallocElement find(std::uintptr_t at, std::uintptr_t* next, Word word) const noexcept {
    std::uintptr_t table = map_.root;
    const unsigned last = tables_.levels - 1;
    for (unsigned level = 0; level < last; ++level) {
      table = word(table + tables_.index[level].of(at) * sizeof table);
      *next = align_up(at + 1, std::uintptr_t{1} << tables_.index[level].shift);
      if (table == 0) return {};
    }
    *next = at + kPageBytes;
    const std::uintptr_t element = table + tables_.index[last].of(at) * tables_.element_words * 8;
    const std::uintptr_t extent = word(element) & kJemallocExtentPointer;
    if (extent == 0) return {};
    const std::uint64_t rest = word(element + (tables_.element_words - 1) * std::uintptr_t{8});
    return {extent, map_.layout->element_slab.of(rest) != 0, map_.layout->element_class.of(rest)};
  }

  const ProcessMemory& process_;
  const JemallocMap& map_;
  const JemallocTables& tables_;
};

/// Bytes of a block of each size class, small ones first, as every build for 4 KiB pages has them: four
/// classes to each doubling. \param small  how many are small \return how many there are
inline unsigned jemalloc_classes(std::uint64_t (&bytes)[kJemallocMostClasses], unsigned* small) noexcept {
  constexpr std::uint64_t kLargestSmall = 14 << 10, kLargest = std::uint64_t{7} << 60;
  unsigned n = 0;
  for (const std::uint64_t first : {8, 16, 32, 48, 64, 80, 96, 112, 128}) bytes[n++] = first;
  for (std::uint64_t base = 128; n < kJemallocMostClasses && bytes[n - 1] < kLargest; base *= 2)
    for (std::uint64_t step = 1; step <= 4 && n < kJemallocMostClasses && bytes[n - 1] < kLargest; ++step)
      bytes[n++] = base + step * (base / 4);
  *small = 0;
  while (*small < n && bytes[*small] <= kLargestSmall) ++*small;
  return n;
}

}  // namespace mallard::heaps
