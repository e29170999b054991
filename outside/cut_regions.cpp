// SPDX-License-Identifier: Apache-2.0
#include "outside/cut_regions.hpp"

#include <algorithm>

namespace mallard::outside {
namespace {

using report::Owner;
using report::Region;

/// The counted figures, which are divided; all else is the same for each part.
constexpr std::uint64_t* counted(Region& r, int which) noexcept {
  std::uint64_t* const all[] = {&r.lazily_freed_bytes,   &r.in_files.only_ours,     &r.in_files.with_others,
                                &r.in_no_file.only_ours, &r.in_no_file.with_others, &r.dirty_bytes};
  return all[which];
}
constexpr int kCounted = 6;

/// Takes [rest->begin, end) off `rest`, with its share of the figures.
Region take_off(Region* rest, std::uintptr_t end, const report::Residency& residency) noexcept {
  const auto all = static_cast<double>(residency.resident_bytes(rest->begin, rest->end));
  const auto part = static_cast<double>(residency.resident_bytes(rest->begin, end));
  Region taken = *rest;
  taken.end = end;
  rest->begin = end;
  for (int i = 0; i < kCounted; ++i) {
    std::uint64_t& figure = *counted(*rest, i);
    const auto share = all > 0 ? static_cast<std::uint64_t>(static_cast<double>(figure) * part / all) : 0;
    *counted(taken, i) = share;
    figure -= share;
  }
  return taken;
}

bool is_nobodys(const Region& r) noexcept {
  return r.owner == Owner::kAnonymous && r.allocator.empty() && r.readable && r.writable;
}

}  // namespace

bool cut_regions(Arena& arena, std::span<const AddressRange> pieces, std::string_view allocator,
                 report::Memory* memory) noexcept {
  Growing<Region> cut(arena);
  auto piece = pieces.begin();
  for (const Region& r : memory->regions.all) {
    while (piece != pieces.end() && piece->end <= r.begin) ++piece;
    Region rest = r;
    for (auto p = piece; is_nobodys(r) && p != pieces.end() && p->begin < r.end; ++p) {
      const std::uintptr_t begin = std::max(p->begin, rest.begin), end = std::min(p->end, r.end);
      if (begin > rest.begin) cut.add(take_off(&rest, begin, memory->residency));
      Region its = end < rest.end ? take_off(&rest, end, memory->residency) : rest;
      if (end == r.end) rest.begin = rest.end;
      its.allocator = allocator;
      cut.add(its);
    }
    if (rest.begin < rest.end) cut.add(rest);
  }
  if (cut.out_of_memory()) return false;
  memory->regions.all = cut.all();
  return true;
}

}  // namespace mallard::outside
