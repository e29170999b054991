// SPDX-License-Identifier: Apache-2.0
#include "report/divide/pin_sets.hpp"

#include <algorithm>
#include <initializer_list>

namespace mallard::report {
namespace {

constexpr std::uint32_t kMaxPinSets = 4096, kSlots = 2 * kMaxPinSets;

std::span<const std::uint32_t> sites_of(const PinSet& set) noexcept {
  return {set.sites, static_cast<std::size_t>(set.count)};
}

std::size_t slot_of(std::span<const std::uint32_t> sites) noexcept {
  std::uint64_t h = sites.size();
  for (const std::uint32_t site : sites) {
    h = (h ^ site) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  }
  return static_cast<std::size_t>(h * 0xbf58476d1ce4e5b9u >> 40) % kSlots;
}

bool has_more(const PinSet& a, const PinSet& b) noexcept {
  if (a.bytes != b.bytes) return a.bytes > b.bytes;
  return std::lexicographical_compare(a.sites, a.sites + a.count, b.sites, b.sites + b.count);
}

}  // namespace

void UnitSites::add(std::uint32_t site) noexcept {
  if (site == last_ || is_crowded()) return;
  last_ = site;
  std::uint32_t* const end = sites_ + count_;
  std::uint32_t* const at = std::lower_bound(sites_, end, site);
  if (at != end && *at == site) return;
  if (count_++ == kMaxPinSites) return;
  std::copy_backward(at, end, end + 1);
  *at = site;
}

PinSet* PinSets::find_or_add(std::span<const std::uint32_t> sites) noexcept {
  if (!sets_) {
    sets_ = arena_.array<PinSet>(kMaxPinSets);
    slots_ = arena_.array<std::uint16_t>(kSlots);
    if (!sets_ || !slots_) return nullptr;
  }
  const auto find = [&] {
    std::size_t slot = slot_of(sites);
    while (slots_[slot] != 0 && !std::ranges::equal(sites_of(sets_[slots_[slot] - 1]), sites))
      slot = (slot + 1) % kSlots;
    return slot;
  };
  std::size_t slot = find();
  if (slots_[slot] != 0) return &sets_[slots_[slot] - 1];
  if (count_ == kMaxPinSets) {
    drop_smaller_half();
    slot = find();
  }
  PinSet& made = sets_[count_++] = {};
  std::ranges::copy(sites, made.sites);
  made.count = static_cast<int>(sites.size());
  slots_[slot] = static_cast<std::uint16_t>(count_);
  return &made;
}

void PinSets::drop_smaller_half() noexcept {
  constexpr std::uint32_t kKept = kMaxPinSets / 2;
  std::nth_element(sets_, sets_ + kKept, sets_ + count_, has_more);
  for (std::uint32_t i = kKept; i < count_; ++i) sums_.unlisted += sets_[i].bytes;
  count_ = kKept;
  std::fill(slots_, slots_ + kSlots, std::uint16_t{0});
  for (std::uint32_t i = 0; i < count_; ++i) {
    std::size_t slot = slot_of(sites_of(sets_[i]));
    while (slots_[slot] != 0) slot = (slot + 1) % kSlots;
    slots_[slot] = static_cast<std::uint16_t>(i + 1);
  }
}

void PinSets::add(const UnitSites& by, double bytes, double holes, std::span<ExactShare> shares) noexcept {
  if (by.has_unknown()) return void(sums_.others += bytes);
  const std::span<const std::uint32_t> sites = by.is_crowded() ? std::span<const std::uint32_t>() : by.all();
  if (sites.size() == 1) {
    sums_.alone += bytes;
    sums_.alone_holes += holes;
    shares[sites[0]].alone += bytes;
    shares[sites[0]].alone_holes += holes;
    return;
  }
  if (!by.is_crowded() && sites.empty()) return;
  sums_.joint += bytes;
  sums_.joint_holes += holes;
  if (by.is_crowded()) return void(sums_.crowded += bytes);
  PinSet* set = out_of_memory_ ? nullptr : find_or_add(sites);
  if (!set) return void(out_of_memory_ = true);
  set->bytes += bytes;
  set->holes += holes;
}

bool PinSets::sum_up(std::span<const ExactShare> shares, Pins* out) noexcept {
  if (out_of_memory_) return false;
  const std::uint32_t shown = std::min<std::uint32_t>(count_, kShownPinSets);
  auto* leading = arena_.array<PinSet>(shown + 1);
  if (!leading) return false;
  std::partial_sort_copy(sets_, sets_ + count_, leading, leading + shown, has_more);
  for (PinSet& set : std::span(leading, shown)) {
    for (const std::uint32_t site : sites_of(set)) set.together += shares[site].alone;
    for (const PinSet& other : std::span(sets_, count_))
      if (std::ranges::includes(sites_of(set), sites_of(other))) set.together += other.bytes;
  }
  *out = sums_;
  out->known = true;
  out->sets = {leading, shown};
  // Whole numbers, as in the JSON report.
  for (double* sum : {&out->alone, &out->alone_holes, &out->joint, &out->joint_holes, &out->others,
                      &out->crowded, &out->unlisted})
    *sum = rounded(*sum, 1);
  for (PinSet& set : std::span(leading, shown))
    for (double* sum : {&set.bytes, &set.holes, &set.together}) *sum = rounded(*sum, 1);
  return true;
}

}  // namespace mallard::report
