// SPDX-License-Identifier: Apache-2.0
// Finds how a mimalloc 3 that cannot be asked for blocks is laid out: by pages of which some are its own.
#include <algorithm>
#include <cstdint>
#include <span>

#include "heaps/mimalloc_links.hpp"
#include "heaps/mimalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constinit PageCopies g_structures;

constexpr std::size_t kMostBefore = 64 * kMimallocSlice;  // of an arena, before its structure: 8 in 3.6

/// A page of a thread has an owner: 3.0 and 3.2 differ in nothing but where that stands, and in the other one's
/// place is mostly 0. A page that no thread has may have one still, and where all of its blocks are in use it does.
enum class OwnerIs : std::uint8_t { kThere, kNotThere, kLacking };

OwnerIs owner_of(const MimallocShape& shape, const MimallocStructure& s) noexcept {
  if (s.owner >= kPageBytes) return OwnerIs::kThere;
  return shape.family != MimallocFamily::kPageMap || s.ownerless ? OwnerIs::kNotThere : OwnerIs::kLacking;
}

/// Where the structure of the page that has `address` lies, if the two agree about it; else 0.
std::uintptr_t structure_of(const MimallocLayout& supposed, const ProcessMemory& process,
                            std::uintptr_t address, OwnerIs* owner) noexcept {
  const std::uintptr_t link = link_of(g_structures, supposed, address);
  std::uintptr_t at = 0;
  unsigned char copy[kMostMimallocShapeBytes];
  if (!link || !g_structures.get(link, &at) || at < kPageBytes || at % 8 != 0 ||
      !process.copy(copy, at, supposed.shape->bytes))
    return 0;
  const MimallocStructure s = read_mimalloc_structure(*supposed.shape, copy, at);
  // An arena's structure lies in one of its first slices.
  const std::uintptr_t begin = s.first_block & ~(kMimallocSlice - 1);
  const std::uintptr_t end = begin + s.slices * kMimallocSlice;
  const std::uintptr_t arena = begin - s.slice_index * kMimallocSlice;
  const bool is_its = s.of_arena && arena <= s.source && s.source < arena + kMostBefore && s.slices > 0 &&
                      begin <= address && address < end && s.owner % 8 == 0 && s.first_block != 0 &&
                      describes_mimalloc_page(s, begin, end);
  *owner = owner_of(*supposed.shape, s);
  return is_its ? at : 0;
}

/// Whether the pages are described as one layout has it, and how many of them with an owner.
struct Description {
  bool is_enough;
  std::size_t owned;
};

Description describe(const MimallocLayout& supposed, const ProcessMemory& process,
                     std::span<const std::uintptr_t> pages) noexcept {
  constexpr std::size_t kEnough = 3;
  std::uintptr_t met[kEnough];
  std::size_t count = 0, owned = 0;
  for (const std::uintptr_t page : pages) {
    OwnerIs owner{};
    const std::uintptr_t at = structure_of(supposed, process, page, &owner);
    if (at == 0) continue;
    if (owner == OwnerIs::kLacking) return {};
    owned += owner == OwnerIs::kThere;
    if (count < kEnough && std::find(met, met + count, at) == met + count) met[count++] = at;
  }
  return {count == kEnough, owned};
}

/// The layout of those that describe the pages which sees most owners. Two descriptions of one thing that see as many:
/// none is believed.
class BestDescribed {
 public:
  void add(const MimallocLayout& layout, std::size_t owned) noexcept {
    if (found_.shape && owned <= owned_) {
      is_shared_ |= owned == owned_;
      return;
    }
    is_shared_ = false;
    found_ = layout;
    owned_ = owned;
  }
  MimallocLayout found() const noexcept { return is_shared_ ? MimallocLayout{} : found_; }

 private:
  MimallocLayout found_{};
  std::size_t owned_ = 0;
  bool is_shared_ = false;
};

}  // namespace

MimallocLayout find_mimalloc_page_map(const ProcessMemory& process, AddressRange data,
                                      std::span<const std::uintptr_t> pages) noexcept {
  std::uint64_t looks = 0;
  BestDescribed best;
  g_structures.begin(process);
  for (const MimallocShape& shape : kMimallocShapes) {
    MimallocLayout supposed{.shape = &shape};
    if (shape.family == MimallocFamily::kSlots)
      if (const Description d = describe(supposed, process, pages); d.is_enough) best.add(supposed, d.owned);
    if (shape.family != MimallocFamily::kPageMap) continue;
    for (std::uintptr_t at = data.begin; at + sizeof at <= data.end && looks <= kMostLooks; at += sizeof at) {
      const std::uintptr_t map = process.word(at);
      if (map < kPageBytes || map % kPageBytes != 0 || map >> 47 != 0) continue;
      supposed.page_map = map;
      looks += pages.size();
      const Description d = describe(supposed, process, pages);
      if (!d.is_enough) continue;
      best.add(supposed, d.owned);
      break;
    }
  }
  return best.found();
}

bool is_in_mimalloc_page(const ProcessMemory& process, const MimallocLayout& layout,
                         std::uintptr_t page) noexcept {
  g_structures.begin(process);
  OwnerIs owner{};
  return structure_of(layout, process, page, &owner) != 0;
}

}  // namespace mallard::heaps
