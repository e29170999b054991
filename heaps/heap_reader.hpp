// SPDX-License-Identifier: Apache-2.0
// How a census looks at memory that the host changes meanwhile. Context: reporter, one thread at a time.
#pragma once

#include <string.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/attributes.hpp"
#include "base/pauses.hpp"
#include "heaps/census.hpp"

namespace mallard::heaps {

/// Copies of pages that may be unmapped at any time, so that neighbouring looks share one system call.
class PageCopies {
 public:
  static constexpr std::size_t kWindow = 64 << 10;

  /// Looks at `process` from now on, and forgets all copies: what they show is from before.
  void begin(const ProcessMemory& process) noexcept {
    process_ = &process;
    memset(pages_, 0, sizeof pages_);
  }

  /// The `bytes` at `from`, which must not cross the end of a page.
  /// \return valid until the next call; nullptr if the page is not mapped
  const unsigned char* at(std::uintptr_t from, std::size_t bytes) noexcept {
    const std::uintptr_t page = from & ~(kPageBytes - 1);
    if (page == 0 || from + bytes > page + kPageBytes) return nullptr;
    const std::size_t slot = page / kPageBytes % kSlots;
    if (pages_[slot] != page) {
      pages_[slot] = 0;
      pauses_.after_a_call();
      if (!process_->copy(copies_[slot], page, kPageBytes)) return nullptr;
      pages_[slot] = page;
    }
    return copies_[slot] + (from - page);
  }

  /// Copies a whole window in one system call; where that fails, pages will be copied one by one.
  /// \param window a multiple of kWindow, all of it in memory
  void copy_window(std::uintptr_t window) noexcept {
    pauses_.after_a_call();
    if (!process_->copy(copies_, window, kWindow)) return begin(*process_);
    for (std::size_t i = 0; i < kSlots; ++i) pages_[i] = window + i * kPageBytes;
  }

  /// \return false if it is not mapped or crosses the end of a page
  template <typename T>
  bool get(std::uintptr_t from, T* to) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    const unsigned char* p = at(from, sizeof(T));
    if (p) memcpy(to, p, sizeof(T));
    return p != nullptr;
  }

 private:
  static constexpr std::size_t kSlots = kWindow / kPageBytes;
  const ProcessMemory* process_ = nullptr;
  Pauses pauses_{400'000};
  std::uintptr_t pages_[kSlots] = {};
  alignas(64) unsigned char copies_[kSlots][kPageBytes] = {};
};

/// Most words of a program's data that point somewhere lead to no table of an allocator. One that says so much that is
/// not so before it describes anything is looked at no longer, and a search ends after so many looks: seconds.
inline constexpr unsigned kMostMisfits = 8;
inline constexpr std::uint64_t kMostLooks = 16'000'000;

/// Neighbouring ranges of the heap as one: what the allocator mapped at once may be several mappings.
/// \param i  index of the first one; moves past the last
inline AddressRange joined_range(std::span<const AddressRange> ranges, std::size_t* i) noexcept {
  AddressRange range = ranges[(*i)++];
  while (*i < ranges.size() && ranges[*i].begin == range.end) range.end = ranges[(*i)++].end;
  return range;
}

/// The first of ascending ranges that ends behind `at`; nullptr if none does. \param hint  where the last
/// answer was
inline const AddressRange* range_after(std::span<const AddressRange> ranges, std::uintptr_t at,
                                       std::size_t* hint) noexcept {
  if (*hint >= ranges.size() || ranges[*hint].end <= at || (*hint > 0 && ranges[*hint - 1].end > at)) {
    const auto next = std::partition_point(ranges.begin(), ranges.end(),
                                           [at](const AddressRange& r) { return r.end <= at; });
    *hint = static_cast<std::size_t>(next - ranges.begin());
  }
  return *hint < ranges.size() ? &ranges[*hint] : nullptr;
}

/// How much of [begin, end) lies in ascending ranges, of which the first ends behind `begin`.
inline std::uint64_t bytes_within(std::span<const AddressRange> ranges, std::uintptr_t begin,
                                  std::uintptr_t end) noexcept {
  std::uint64_t sum = 0;
  for (auto r = ranges.begin(); r != ranges.end() && r->begin < end; ++r)
    sum += std::min(r->end, end) - std::max(r->begin, begin);
  return sum;
}

/// Questions about ascending addresses to ascending ranges.
class RangeCursor {
 public:
  explicit RangeCursor(std::span<const AddressRange> ranges) noexcept : ranges_(ranges) {}

  /// Whether `at` lies in one of the ranges.
  bool contains(std::uintptr_t at) noexcept {
    if (at < last_) next_ = 0;
    last_ = at;
    while (next_ < ranges_.size() && ranges_[next_].end <= at) ++next_;
    return next_ < ranges_.size() && ranges_[next_].begin <= at;
  }
  /// How much of [begin, end) lies in the ranges.
  std::uint64_t bytes_within(std::uintptr_t begin, std::uintptr_t end) noexcept {
    contains(begin);
    return heaps::bytes_within(ranges_.subspan(next_), begin, end);
  }
  /// Whether all of [begin, end) lies in one of the ranges.
  bool covers(std::uintptr_t begin, std::uintptr_t end) noexcept {
    return contains(begin) && end <= ranges_[next_].end;
  }

 private:
  std::span<const AddressRange> ranges_;
  std::size_t next_ = 0;
  std::uintptr_t last_ = 0;
};

}  // namespace mallard::heaps
