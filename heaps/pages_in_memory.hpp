// SPDX-License-Identifier: Apache-2.0
// Pages in memory, spread over the heap that a census is asked of: where an allocator cannot be asked for blocks, its
// form is found by them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "heaps/heap_reader.hpp"

namespace mallard::heaps {

/// Calls `visit(page)` for some `most` pages of [begin, end) that are in memory, spread over them, until it returns true.
/// \param resident  runs of such pages, ascending
/// \param bytes  of them in [begin, end)
template <class Run, class Visit>
bool any_page(std::span<const Run> resident, std::uintptr_t begin, std::uintptr_t end, std::uint64_t bytes,
              std::size_t most, Visit visit) noexcept {
  const std::uint64_t step = align_up(std::max<std::uint64_t>(bytes / most, 1), kPageBytes);
  const auto first = std::partition_point(resident.begin(), resident.end(),
                                          [begin](const Run& run) { return run.end <= begin; });
  std::uint64_t next = 0, before = 0;  // in bytes of pages in memory
  for (auto run = first; run != resident.end() && run->begin < end; ++run) {
    const std::uintptr_t from = std::max(run->begin, begin), to = std::min(run->end, end);
    for (; next < before + (to - from); next += step)
      if (visit(from + (next - before))) return true;
    before += to - from;
  }
  return false;
}

/// \context reporter, one search at a time
class PagesInMemory {
 public:
  static constexpr std::size_t kMost = 512;

  /// As many pages of each of the eight ranges that have most in memory; kMost together at the most.
  std::span<const std::uintptr_t> find(const CensusRequest& request) noexcept {
    begin();
    RangeCursor resident(request.resident);
    for (std::size_t i = 0; i < request.heap.size();) {
      const AddressRange range = joined_range(request.heap, &i);
      offer(range, resident.bytes_within(range.begin, range.end));
    }
    return spread_over(request.resident);
  }

  /// Begins a search over ranges that are offered one by one instead.
  void begin() noexcept { std::fill_n(bytes_, kRanges, std::uint64_t{0}); }
  /// Adds a range if few have more. \param resident  bytes of it in memory
  void offer(const AddressRange& range, std::uint64_t resident) noexcept {
    const auto least = std::min_element(bytes_, bytes_ + kRanges) - bytes_;
    if (resident <= bytes_[least]) return;
    bytes_[least] = resident;
    largest_[least] = range;
  }
  template <class Run>
  std::span<const std::uintptr_t> spread_over(std::span<const Run> resident) noexcept {
    std::size_t count = 0;
    const auto there = static_cast<std::size_t>(kRanges - std::count(bytes_, bytes_ + kRanges, std::uint64_t{0}));
    for (std::size_t i = 0; i < kRanges; ++i)
      if (bytes_[i] > 0)
        any_page(resident, largest_[i].begin, largest_[i].end, bytes_[i], kMost / there, [&](std::uintptr_t page) {
          if (count < kMost) pages_[count++] = page;
          return count == kMost;
        });
    return {pages_, count};
  }

 private:
  static constexpr std::size_t kRanges = 8;
  AddressRange largest_[kRanges] = {};
  std::uint64_t bytes_[kRanges] = {};
  std::uintptr_t pages_[kMost] = {};
};

}  // namespace mallard::heaps
