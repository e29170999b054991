// SPDX-License-Identifier: Apache-2.0
#include "heaps/census_parts.hpp"

#include <algorithm>
#include <initializer_list>

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

namespace {

std::uint64_t bytes_of(std::span<const AddressRange> ranges) noexcept {
  std::uint64_t bytes = 0;
  for (const AddressRange& range : ranges) bytes += range.end - range.begin;
  return bytes;
}

}  // namespace

CensusResult census_of_parts(Arena& arena, std::span<const CensusPart> parts, const CensusRequest& request) noexcept {
  CensusResult sum{.done = true};
  const auto all = static_cast<double>(std::max(bytes_of(request.resident), std::uint64_t{1}));
  for (const bool asks_by_block : {false, true})
    for (const CensusPart& part : parts) {
      if (part.asks_by_block != asks_by_block) continue;
      const std::span<const AddressRange> resident = common(arena, request.resident, part.ranges);
      // All of them together may read that much.
      const double budget = static_cast<double>(request.budget_bytes) * static_cast<double>(bytes_of(resident)) / all;
      const CensusRequest of_part{
          request.process,        part.ranges,   resident,        request.sampled_blocks, static_cast<std::uint64_t>(budget),
          request.on_unit,        request.opaque, request.exact,  request.on_block,       request.on_cached};
      const CensusResult result = part.census(of_part);
      if (&part == parts.data()) sum.unit_name = result.unit_name;
      add_up(result, &sum);
    }
  return sum;
}

}  // namespace mallard::heaps
