// SPDX-License-Identifier: Apache-2.0
#include "report/facts/beside.hpp"

#include "base/arena.hpp"
#include "heaps/census_parts.hpp"

namespace mallard::report {
namespace {

constinit heaps::CensusPart g_parts[2]{};
constinit Arena* g_arena = nullptr;

heaps::CensusResult census_of_both(const heaps::CensusRequest& request) noexcept {
  return heaps::census_of_parts(*g_arena, g_parts, request);
}

}  // namespace

Census claim_beside(Arena& arena, Census main, Census beside, Memory* memory) noexcept {
  if (!main || !beside || !memory->known) return main;
  Growing<AddressRange> mains(arena), besides(arena);
  for (const Region& r : memory->regions.all) {
    const bool is_beside = r.owner == Owner::kAnonymous && r.allocator == kGlibcMalloc;
    if (is_beside || r.owner == Owner::kHeap) (is_beside ? besides : mains).add({r.begin, r.end});
  }
  if (besides.size() == 0 || mains.out_of_memory() || besides.out_of_memory()) return main;
  for (Region& r : memory->regions.all)
    if (r.owner == Owner::kAnonymous && r.allocator == kGlibcMalloc) r.owner = Owner::kHeap;
  g_parts[0] = {main, mains.all(), false};
  g_parts[1] = {beside, besides.all(), true};
  g_arena = &arena;
  return census_of_both;
}

}  // namespace mallard::report
