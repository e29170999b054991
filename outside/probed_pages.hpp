// SPDX-License-Identifier: Apache-2.0
// Pages in memory, spread over regions: a few of them tell whose heap it is. Context: offline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "heaps/pages_in_memory.hpp"
#include "report/facts/regions.hpp"
#include "report/facts/residency.hpp"

namespace mallard::outside {

/// Calls `visit(page)` for pages in memory of a region, spread over it, until it returns true.
template <class Visit>
bool any_page(const report::Residency& residency, const report::Region& r, std::size_t most,
              Visit visit) noexcept {
  return heaps::any_page(residency.runs(), r.begin, r.end, residency.resident_bytes(r.begin, r.end), most, visit);
}

class ProbedPages {
 public:
  /// Pages in memory of the largest regions that may be an allocator's.
  template <class IsCandidate>
  std::span<const std::uintptr_t> find(const report::Residency& residency,
                                       std::span<const report::Region> regions,
                                       const report::InMemory* in_memory, IsCandidate is_candidate) noexcept {
    pages_.begin();
    for (std::size_t i = 0; i < regions.size(); ++i)
      if (is_candidate(regions[i])) pages_.offer({regions[i].begin, regions[i].end}, in_memory[i].bytes);
    return pages_.spread_over(residency.runs());
  }

 private:
  heaps::PagesInMemory pages_;
};

}  // namespace mallard::outside
