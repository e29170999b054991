// SPDX-License-Identifier: Apache-2.0
// Pages in memory, spread over regions: a few of them tell whose heap it is. Context: offline.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "report/facts/regions.hpp"
#include "report/facts/residency.hpp"

namespace mallard::outside {

/// Calls `visit(page)` for pages in memory of a region, spread over it, until it returns true.
template <class Visit>
bool any_page(const report::Residency& residency, const report::Region& r, std::size_t most,
              Visit visit) noexcept {
  const std::span<const report::ResidentRun> runs = residency.runs();
  const std::uint64_t bytes = residency.resident_bytes(r.begin, r.end);
  const std::uint64_t step = align_up(std::max<std::uint64_t>(bytes / most, 1), kPageBytes);
  const auto first = std::partition_point(
      runs.begin(), runs.end(), [&r](const report::ResidentRun& run) { return run.end <= r.begin; });
  std::uint64_t next = 0, before = 0;  // in bytes of pages in memory
  for (auto run = first; run != runs.end() && run->begin < r.end; ++run) {
    const std::uintptr_t begin = std::max(run->begin, r.begin), end = std::min(run->end, r.end);
    for (; next < before + (end - begin); next += step)
      if (visit(begin + (next - before))) return true;
    before += end - begin;
  }
  return false;
}

class ProbedPages {
 public:
  /// Pages in memory of the largest regions that may be an allocator's.
  template <class IsCandidate>
  std::span<const std::uintptr_t> find(const report::Residency& residency,
                                       std::span<const report::Region> regions,
                                       const report::InMemory* in_memory, IsCandidate is_candidate) noexcept {
    constexpr std::size_t kMostRegions = 8;
    const report::Region* largest[kMostRegions] = {};
    std::uint64_t bytes[kMostRegions] = {};
    for (std::size_t i = 0; i < regions.size(); ++i) {
      if (!is_candidate(regions[i]) || in_memory[i].bytes == 0) continue;
      const auto smallest = std::min_element(bytes, bytes + kMostRegions) - bytes;
      if (in_memory[i].bytes <= bytes[smallest]) continue;
      bytes[smallest] = in_memory[i].bytes;
      largest[smallest] = &regions[i];
    }
    std::size_t count = 0;
    const auto there = static_cast<std::size_t>(kMostRegions - std::count(largest, largest + kMostRegions, nullptr));
    for (const report::Region* r : largest)
      if (r)
        any_page(residency, *r, kMost / there, [&](std::uintptr_t page) {
          if (count < kMost) pages_[count++] = page;
          return count == kMost;
        });
    return {pages_, count};
  }

 private:
  static constexpr std::size_t kMost = 512;
  std::uintptr_t pages_[kMost];
};

}  // namespace mallard::outside
