// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "report/facts/regions.hpp"

namespace mallard::report {

const InMemory* measure_regions(Arena& arena, std::span<const Region> regions,
                                std::span<const ResidentRun> runs) noexcept {
  auto* in_memory = arena.array<InMemory>(regions.size() + 1);
  if (!in_memory) return nullptr;
  std::size_t first = 0;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    while (first < runs.size() && runs[first].end <= regions[i].begin) ++first;
    for (std::size_t r = first; r < runs.size() && runs[r].begin < regions[i].end; ++r) {
      const std::uint64_t bytes =
          std::min(regions[i].end, runs[r].end) - std::max(regions[i].begin, runs[r].begin);
      in_memory[i].bytes += bytes;
      if (runs[r].huge) in_memory[i].huge += bytes;
      if (!runs[r].file) in_memory[i].anonymous += bytes;
    }
  }
  return in_memory;
}

}  // namespace mallard::report
