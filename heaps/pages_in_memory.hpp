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

/// \context reporter, one census at a time
class PagesInMemory {
 public:
  static constexpr std::size_t kMost = 512;

  /// As many pages of each of the eight ranges that have most in memory; kMost together at the most.
  std::span<const std::uintptr_t> find(const CensusRequest& request) noexcept {
    AddressRange largest[kRanges] = {};
    std::uint64_t bytes[kRanges] = {};
    for (std::size_t i = 0; i < request.heap.size();) {
      const AddressRange range = joined_range(request.heap, &i);
      const std::uint64_t resident = bytes_in(request.resident, range);
      const auto least = std::min_element(bytes, bytes + kRanges) - bytes;
      if (resident <= bytes[least]) continue;
      bytes[least] = resident;
      largest[least] = range;
    }
    count_ = 0;
    const auto there = static_cast<std::size_t>(kRanges - std::count(bytes, bytes + kRanges, std::uint64_t{0}));
    for (std::size_t i = 0; i < kRanges; ++i)
      if (bytes[i] > 0) add(request.resident, largest[i], bytes[i], kMost / there);
    return {pages_, count_};
  }

 private:
  static constexpr std::size_t kRanges = 8;

  static std::span<const AddressRange> from(std::span<const AddressRange> ranges, std::uintptr_t at) noexcept {
    std::size_t hint = 0;
    const AddressRange* first = range_after(ranges, at, &hint);
    return first ? ranges.subspan(static_cast<std::size_t>(first - ranges.data())) : ranges.last(0);
  }
  static std::uint64_t bytes_in(std::span<const AddressRange> resident, const AddressRange& range) noexcept {
    return bytes_within(from(resident, range.begin), range.begin, range.end);
  }

  void add(std::span<const AddressRange> resident, const AddressRange& range, std::uint64_t bytes,
           std::size_t of_each) noexcept {
    const std::uint64_t step = align_up(std::max<std::uint64_t>(bytes / of_each, 1), kPageBytes);
    std::uint64_t next = 0, before = 0;  // in bytes of pages in memory
    for (const AddressRange& run : from(resident, range.begin)) {
      if (run.begin >= range.end) return;
      const std::uintptr_t begin = std::max(run.begin, range.begin), end = std::min(run.end, range.end);
      for (; next < before + (end - begin); next += step) {
        if (count_ == kMost) return;
        pages_[count_++] = begin + (next - before);
      }
      before += end - begin;
    }
  }

  std::uintptr_t pages_[kMost] = {};
  std::size_t count_ = 0;
};

}  // namespace mallard::heaps
