// SPDX-License-Identifier: Apache-2.0
#include "heaps/census_parts.hpp"

#include <algorithm>
#include <initializer_list>

#include "heaps/heap_reader.hpp"

namespace mallard::heaps {
namespace {

void add_up(const CensusResult& part, CensusResult* sum) noexcept {
  if (sum->done && !part.done) sum->why_not = part.why_not;
  sum->done = sum->done && part.done;
  sum->thread_cached_bytes += part.thread_cached_bytes;
  sum->internal_bytes += part.internal_bytes;
  sum->reads += part.reads;
  sum->raced += part.raced;
  sum->arena_top_bytes += part.arena_top_bytes;
  sum->arenas += part.arenas;
  sum->threadless_arenas += part.threadless_arenas;
  sum->free_memory += part.free_memory;
}

}  // namespace

std::span<const AddressRange> common(Arena& arena, std::span<const AddressRange> resident,
                                     std::span<const AddressRange> ranges) noexcept {
  Growing<AddressRange> both(arena);
  std::size_t first = 0;
  for (const AddressRange& range : ranges) {
    while (first < resident.size() && resident[first].end <= range.begin) ++first;
    for (std::size_t i = first; i < resident.size() && resident[i].begin < range.end; ++i)
      both.add({std::max(range.begin, resident[i].begin), std::min(range.end, resident[i].end)});
  }
  return both.all();
}

CensusResult census_of_parts(Arena& arena, std::span<const CensusPart> parts, const CensusRequest& request) noexcept {
  CensusResult sum{.done = true};
  constexpr std::uintptr_t kEnd = ~std::uintptr_t{0};
  const auto all = static_cast<double>(std::max(bytes_within(request.resident, 0, kEnd), std::uint64_t{1}));
  for (const bool asks_by_block : {false, true})
    for (const CensusPart& part : parts) {
      if (part.asks_by_block != asks_by_block) continue;
      CensusRequest of_part = request;
      of_part.heap = part.ranges;
      of_part.resident = common(arena, request.resident, part.ranges);
      // All of them together may read that much.
      const double share = static_cast<double>(bytes_within(of_part.resident, 0, kEnd)) / all;
      of_part.budget_bytes = static_cast<std::uint64_t>(static_cast<double>(request.budget_bytes) * share);
      const CensusResult result = part.census(of_part);
      if (&part == parts.data()) sum.unit_name = result.unit_name;
      add_up(result, &sum);
    }
  return sum;
}

}  // namespace mallard::heaps
