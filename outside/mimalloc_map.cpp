// SPDX-License-Identifier: Apache-2.0
#include "outside/mimalloc_map.hpp"

#include <algorithm>

#include "base/arena.hpp"
#include "outside/cut_regions.hpp"

namespace mallard::outside {
namespace {

constexpr std::string_view kName = "mimalloc";

/// Sorted, and those that touch are one.
std::span<const AddressRange> joined(std::span<AddressRange> ranges) noexcept {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::size_t n = 0;
  for (const AddressRange& range : ranges) {
    if (n > 0 && range.begin <= ranges[n - 1].end) ranges[n - 1].end = std::max(ranges[n - 1].end, range.end);
    else ranges[n++] = range;
  }
  return ranges.first(n);
}

}  // namespace

bool claim_mimalloc_map(Arena& arena, const heaps::MimallocLayout& layout, report::Memory* memory) noexcept {
  Growing<AddressRange> pieces(arena);
  for (const report::Region& r : memory->regions.all)
    if (r.allocator == kName && r.owner == report::Owner::kAnonymous)
      heaps::each_mimalloc_map(
          *memory->process, layout, {r.begin, r.end},
          [](AddressRange piece, void* to) {
            piece.end = align_up(piece.end, kPageBytes);
            if (piece.begin % kPageBytes == 0 && piece.begin < piece.end)
              static_cast<Growing<AddressRange>*>(to)->add(piece);
          },
          &pieces);
  return !pieces.out_of_memory() && pieces.size() > 0 && cut_regions(arena, joined(pieces.all()), kName, memory);
}

}  // namespace mallard::outside
