// SPDX-License-Identifier: Apache-2.0
#include "report/divide/exact_division.hpp"

#include <algorithm>

#include "report/divide/heap_map.hpp"

namespace mallard::report {
namespace {

using heaps::Booked;
using heaps::Unit;
using heaps::UnitKind;

constexpr std::uint32_t kUnbookedSite = UINT32_MAX;
constexpr std::uint32_t kBlocksOnPage = kPageBytes / 8;

std::uint64_t glibc_usable(std::uint64_t asked) noexcept {
  return std::max<std::uint64_t>(24, align_up(asked + 8, 16) - 8);
}

}  // namespace

BlockSize glibc_block_size() noexcept { return {glibc_usable, 8}; }

const heaps::ExactBlocks* ExactDivision::exact_blocks() noexcept {
  static constexpr heaps::ExactBlocks kExactBlocks = {
      [](std::uintptr_t block, void* self) { return static_cast<ExactDivision*>(self)->look_up(block); },
      [](std::uintptr_t block, std::uint64_t usable_bytes, void* self) {
        static_cast<ExactDivision*>(self)->add_block(block, usable_bytes);
      },
      [](std::uint64_t usable_bytes, void* self) {
        static_cast<ExactDivision*>(self)->disputed_ += static_cast<double>(usable_bytes);
      }};
  return &kExactBlocks;
}

bool ExactDivision::begin(std::span<ExactShare> sites) noexcept {
  sites_ = sites;
  held_room_ = 16 * kBlocksOnPage;
  held_ = arena_.array<Held>(held_room_);
  looked_ = arena_.array<Held>(kBlocksOnPage);
  on_page_ = arena_.array<Held>(kBlocksOnPage);
  return held_ && looked_ && on_page_ && pages_.begin(arena_);
}

void ExactDivision::add_held(const Held& held) noexcept {
  if (held_count_ == held_room_) {
    Held* bigger = arena_.array<Held>(std::size_t{held_room_} * 2);
    if (!bigger) return void(out_of_memory_ = true);
    std::copy(held_, held_ + held_count_, bigger);
    held_ = bigger;
    held_room_ *= 2;
  }
  held_[held_count_++] = held;
}

/// The books' blocks that begin in a unit whose blocks are all of one size.
void ExactDivision::gather(const Unit& unit) noexcept {
  const auto add = [](const record::ExactLive& b, void* self) {
    auto* shares = static_cast<ExactDivision*>(self);
    shares->add_held({b.begin, b.asked_bytes, shares->usable_bytes_, static_cast<std::uint32_t>(b.site)});
  };
  held_count_ = 0;
  usable_bytes_ = unit.block_bytes;
  const bool single = unit.block_bytes * 2 > unit.end - unit.begin;
  if (single) live_.for_each(unit.begin, std::min(unit.begin + kPageBytes, unit.end), add, this);
  if (!single || held_count_ == 0) live_.for_each(unit.begin, unit.end, add, this);
}

ExactDivision::Part ExactDivision::part_in(const Unit& unit, const Held& b, bool all_in_memory) noexcept {
  const std::uintptr_t from = std::max(b.begin, unit.begin);
  const std::uintptr_t to = std::min(b.begin + b.usable_bytes, unit.end);
  if (to <= from) return {};
  const std::uintptr_t asked_to = std::clamp(b.begin + b.asked_bytes, from, to);
  if (all_in_memory) return {to - from, static_cast<double>(to - from), static_cast<double>(asked_to - from)};
  return {to - from, static_cast<double>(pages_.resident(from, to)),
          static_cast<double>(pages_.resident(from, asked_to))};
}

/// Divides a unit among `blocks`, which may reach beyond it.
void ExactDivision::charge(const Unit& unit, std::span<const Held> blocks) noexcept {
  const auto resident = static_cast<double>(pages_.pin(unit.begin, unit.end));
  const bool all_in_memory = pages_.resident(unit.begin, unit.end) == unit.end - unit.begin;
  double usable = 0, asked = 0;
  std::uint64_t live = 0, begun = 0;
  for (const Held& b : blocks) {
    const Part part = part_in(unit, b, all_in_memory);
    live += part.bytes;
    usable += part.usable;
    asked += part.asked;
    if (b.begin >= unit.begin && b.begin < unit.end && b.site != kUnbookedSite) ++begun;
  }
  met_ += begun;
  // What the allocator holds to be live beyond the books: in thread caches, or never booked.
  std::uint64_t beyond = 0;
  if (!by_block_ && unit.block_bytes > 0 && unit.live_bytes > 0) {
    const std::uint64_t booked = begun * unit.block_bytes;
    if (booked > unit.live_bytes) ++raced_;
    else beyond = unit.live_bytes - booked;
  }
  if (live_.beyond == Beyond::kChance) {
    disputed_ += static_cast<double>(beyond);
    beyond = 0;
  }
  const double overhead = std::clamp(resident - usable, 0.0, static_cast<double>(unit.overhead_bytes));
  usable = std::min(usable, resident);
  asked = std::min(asked, usable);
  const double old = std::min(static_cast<double>(beyond), resident - usable - overhead);
  const double holes = resident - usable - overhead - old;
  pinned_ += resident;
  headers_ += overhead;
  usable_ += usable;
  asked_ += asked;
  pages_.note_free(unit, holes);
  if (map_) map_->count(unit.begin, unit.end, usable + old, holes);
  if (live + beyond == 0) return void(unattributed_ += resident);
  const double each = 1 / static_cast<double>(live + beyond);
  UnitSites by;
  if (beyond > 0) by.add_unknown();
  for (const Held& b : blocks) {
    const Part part = part_in(unit, b, all_in_memory);
    if (part.bytes == 0) continue;
    b.site < sites_.size() ? by.add(b.site) : by.add_unknown();
    if (b.site != kUnbookedSite && b.site >= sites_.size()) continue;
    ExactShare& to = b.site == kUnbookedSite ? unbooked_ : sites_[b.site];
    const double share = static_cast<double>(part.bytes) * each;
    to.resident += resident * share;
    to.live += part.asked;
    to.holes += holes * share;
    if (map_ && b.site != kUnbookedSite)
      map_->claim(std::max(b.begin, unit.begin), std::min(b.begin + b.usable_bytes, unit.end), b.site,
                  resident * share);
  }
  if (resident > 0) pins_.add(by, resident, holes, sites_);
  const double share = static_cast<double>(beyond) * each;
  add_unbooked({resident * share, old, holes * share, 0, 0});
}

void ExactDivision::add_unbooked(const ExactShare& share) noexcept {
  unbooked_.resident += share.resident;
  unbooked_.live += share.live;
  unbooked_.holes += share.holes;
  usable_ += share.live;
  asked_ += share.live;
}

void ExactDivision::charge_unit(const Unit& unit) noexcept {
  if (!by_block_) {
    gather(unit);
    return charge(unit, {held_, held_count_});
  }
  // Ascending, and told before their units; those that end before this one are done with.
  Held* const first = std::find_if(held_, held_ + held_count_,
                                   [&unit](const Held& b) { return b.begin + b.usable_bytes > unit.begin; });
  Held* last = held_ + held_count_;
  charge(unit, {first, last});
  Held* const rest =
      std::find_if(first, last, [&unit](const Held& b) { return b.begin + b.usable_bytes > unit.end; });
  held_count_ = static_cast<std::uint32_t>(std::copy(rest, last, held_) - held_);
}

void ExactDivision::add(const Unit& unit) noexcept {
  if (unit.end <= unit.begin || out_of_memory_) return;
  ++units_;
  switch (unit.kind) {
    case UnitKind::kBlocks:
      return charge_unit(unit);
    case UnitKind::kMetadata:
      return pages_.note_metadata(unit.begin, unit.end);
    case UnitKind::kNotExamined:
      if (live_.beyond != Beyond::kChance) {
        not_examined_ += static_cast<double>(pages_.resident(unit.begin, unit.end));
        if (map_) map_->leave_out(unit.begin, unit.end);
      }
      if (unit.block_bytes == 0) return walk_pages(unit.begin, unit.end);
      gather(unit);
      if (held_count_ > 0) charge(unit, {held_, held_count_});
  }
}

Booked ExactDivision::look_up(std::uintptr_t block) noexcept {
  by_block_ = true;
  if (const std::uintptr_t page = page_of(block); page != looked_page_) {
    looked_page_ = page;
    looked_count_ = looked_next_ = 0;
    live_.for_each(
        page, page + kPageBytes,
        [](const record::ExactLive& b, void* self) {
          auto* shares = static_cast<ExactDivision*>(self);
          if (shares->looked_count_ < kBlocksOnPage)
            shares->looked_[shares->looked_count_++] = {b.begin, b.asked_bytes, 0,
                                                        static_cast<std::uint32_t>(b.site)};
        },
        this);
  }
  if (looked_next_ > 0 && looked_[looked_next_ - 1].begin >= block) looked_next_ = 0;
  while (looked_next_ < looked_count_ && looked_[looked_next_].begin < block) ++looked_next_;
  if (looked_next_ < looked_count_ && looked_[looked_next_].begin == block) {
    found_ = looked_[looked_next_++];
    return Booked::kLive;
  }
  found_ = {block, 0, 0, kUnbookedSite};
  return live_.beyond == Beyond::kChance ? Booked::kFree : Booked::kUnknown;
}

void ExactDivision::add_block(std::uintptr_t block, std::uint64_t usable_bytes) noexcept {
  if (found_.begin != block) return;
  found_.usable_bytes = usable_bytes;
  if (found_.site == kUnbookedSite) found_.asked_bytes = usable_bytes;
  add_held(found_);
}

void ExactDivision::divide_by_pages(std::span<const AddressRange> heap) noexcept {
  for (const AddressRange& range : heap) walk_pages(range.begin, range.end);
}

/// Makes a unit of each page with blocks that begin in [begin, end), and one of the pages that a block has to
/// itself.
void ExactDivision::walk_pages(std::uintptr_t begin, std::uintptr_t end) noexcept {
  on_page_count_ = 0;
  live_.for_each(
      begin, end,
      [](const record::ExactLive& b, void* self) { static_cast<ExactDivision*>(self)->add_on_page(b); },
      this);
  go_to_page(UINTPTR_MAX);
}

void ExactDivision::add_on_page(const record::ExactLive& b) noexcept {
  const std::uint64_t usable =
      size_.usable ? size_.usable(b.asked_bytes) : std::max(b.asked_bytes, std::uint64_t{1});
  go_to_page(page_of(b.begin));
  if (on_page_count_ < kBlocksOnPage)
    on_page_[on_page_count_++] = {b.begin, b.asked_bytes, usable, static_cast<std::uint32_t>(b.site)};
}

/// Leaves the current page for a later one. Blocks do not overlap: only the last one may reach further.
void ExactDivision::go_to_page(std::uintptr_t next) noexcept {
  if (on_page_count_ > 0 && next != page_) {
    const Held last = on_page_[on_page_count_ - 1];
    const std::uintptr_t end = last.begin + last.usable_bytes, tail = page_of(end);
    charge_pages(page_, page_ + kPageBytes);
    on_page_[0] = last;
    on_page_count_ = 1;
    if (tail > page_ + kPageBytes) charge_pages(page_ + kPageBytes, std::min(tail, next));
    if (tail > page_ && tail < end && tail < next) charge_pages(tail, tail + kPageBytes);
    on_page_count_ = tail == next && tail < end ? 1 : 0;
  }
  page_ = next;
}

void ExactDivision::charge_pages(std::uintptr_t begin, std::uintptr_t end) noexcept {
  const std::span<const Held> blocks(on_page_, on_page_count_);
  std::uint64_t headers = 0;
  for (const Held& b : blocks)
    if (b.begin >= begin && b.begin < end) headers += size_.header_bytes;
  ++units_;
  charge({begin, end, UnitKind::kBlocks, 0, 0, headers}, blocks);
}

bool ExactDivision::sum_up(std::uint64_t heap_resident, std::uint64_t thread_cached_bytes,
                           HeapTotals* totals) noexcept {
  *totals = {};
  if (out_of_memory_) return false;
  // Free blocks in thread caches, which the census took for live, were booked and freed.
  const double cached = std::min(unbooked_.live, static_cast<double>(thread_cached_bytes));
  if (cached > 0) {
    const double left = 1 - cached / unbooked_.live;
    unattributed_ += unbooked_.resident * (1 - left);
    unbooked_ = {unbooked_.resident * left, unbooked_.live * left, unbooked_.holes * left, 0, 0};
  }
  const double on_pinned_pages = pages_.pinned_metadata();
  totals->metadata = pages_.metadata() - on_pinned_pages;
  const double heap = std::max(0.0, static_cast<double>(heap_resident) - totals->metadata);
  totals->examined = heap > 0 ? std::clamp(1 - not_examined_ / heap, 0.0, 1.0) : 1;
  // What was not examined holds as much that nobody booked as the rest does.
  if (live_.beyond == Beyond::kPastMallard && totals->examined > 0) {
    const double more = std::min(1 / totals->examined - 1, not_examined_ / std::max(1.0, unbooked_.resident));
    pinned_ += unbooked_.resident * more;
    usable_ += unbooked_.live * more;
    asked_ += unbooked_.live * more;
    unbooked_ = {unbooked_.resident * (1 + more), unbooked_.live * (1 + more), unbooked_.holes * (1 + more),
                 0, 0};
  }
  totals->pinned = std::min(pinned_, heap);
  totals->headers = std::min(headers_ + on_pinned_pages, totals->pinned);
  totals->retained = heap - totals->pinned;
  totals->counted_live = usable_ - cached + disputed_;
  const double past = live_.beyond == Beyond::kPastMallard ? unbooked_.live : 0;
  totals->recorded_live = counted(usable_ - cached - unbooked_.live);
  totals->live_usable = std::min(usable_ - cached - past, totals->pinned - totals->headers);
  totals->past = counted(std::min(past, totals->pinned - totals->headers - totals->live_usable));
  totals->live = counted(std::min(asked_ - cached - past, totals->live_usable));
  totals->rounding = counted(totals->live_usable - totals->live.value);
  totals->holes = counted(totals->pinned - totals->headers - totals->live_usable - totals->past.value);
  totals->holes.has_interval = not_examined_ == 0;
  totals->rounding_known = true;
  totals->unattributed = std::min(unattributed_, totals->pinned);
  totals->units = units_;
  totals->noted = pages_.noted();
  return true;
}

}  // namespace mallard::report
