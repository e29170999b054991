// SPDX-License-Identifier: Apache-2.0
// Layout: tcache_structs.h, cache_bin.h and arena_structs_b.h of 5.1.0 and 5.2.1. All of it changes while it
// is read, and a thread that ends takes its cache along: what is read is checked, and a moment old.
#include "heaps/jemalloc_caches.hpp"

#include <algorithm>

namespace mallard::heaps {
namespace {

constexpr std::size_t kArenaWithin = 128 << 10;  ///< of its block
constexpr std::uint32_t kMostOfLargeClass = 20;  ///< blocks of one large class in a cache
constexpr int kMaxThreadCaches = 1 << 16;

/// What a thread keeps of one class.
struct Bin {
  std::int32_t low_water;
  std::uint32_t blocks;
  std::uint64_t requests;
  std::uintptr_t stack;
};
static_assert(sizeof(Bin) == 24);

}  // namespace

/// An arena's way to the cache of one of its threads. It lies in the cache, between the bins of small classes
/// and those of large ones.
struct JemallocCaches::Ring {
  std::uintptr_t next, previous, small_bins, large_bins;
};

bool JemallocCaches::is_cache(std::uintptr_t at, Ring* to) noexcept {
  constexpr std::uintptr_t kMostBetween = 256;
  if (at % 8 != 0 || !process_.get(at, to)) return false;
  const std::uintptr_t after_small = to->small_bins + small_classes_ * sizeof(Bin);
  return to->next % 8 == 0 && to->previous % 8 == 0 && to->next != 0 && to->previous != 0 &&
         to->small_bins % 8 == 0 && to->large_bins % 8 == 0 && after_small <= at &&
         at - after_small < kMostBetween && at + sizeof *to <= to->large_bins &&
         to->large_bins - at < kMostBetween;
}

std::uint64_t JemallocCaches::large_bytes_in(std::uintptr_t bins) noexcept {
  std::uint64_t bytes = 0;
  for (unsigned i = small_classes_; i < cached_ && i < class_bytes_.size(); ++i) {
    Bin bin;
    if (!process_.get(bins + (i - small_classes_) * sizeof bin, &bin)) return bytes;
    if (bin.blocks <= kMostOfLargeClass) bytes += bin.blocks * class_bytes_[i];
  }
  return bytes;
}

bool JemallocCaches::is_in_heap(std::uintptr_t at) const noexcept {
  const auto next = std::upper_bound(heap_.begin(), heap_.end(), at,
                                     [](std::uintptr_t x, const AddressRange& r) { return x < r.begin; });
  return next != heap_.begin() && at < next[-1].end;
}

std::uint64_t JemallocCaches::large_bytes(std::uintptr_t base) noexcept {
  std::uintptr_t words[kPageBytes / sizeof(std::uintptr_t)];
  for (std::uintptr_t page = base; page < base + kArenaWithin; page += kPageBytes) {
    if (!resident_.contains(page) || !process_.get(page, &words)) continue;
    for (const std::uintptr_t first : words) {
      // Caches lie in the threads' own memory; nearly all else that an arena points to is the allocator's.
      Ring cache;
      if (first < kPageBytes || is_in_heap(first) || !is_cache(first, &cache)) continue;
      std::uint64_t bytes = large_bytes_in(cache.large_bins);
      for (int i = 0; i < kMaxThreadCaches && cache.next != first; ++i) {
        if (!is_cache(cache.next, &cache)) break;
        bytes += large_bytes_in(cache.large_bins);
      }
      return bytes;
    }
  }
  return 0;
}

}  // namespace mallard::heaps
