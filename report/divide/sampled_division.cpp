// SPDX-License-Identifier: Apache-2.0
#include "report/divide/sampled_division.hpp"

#include <algorithm>
#include <bit>
#include <initializer_list>

namespace mallard::report {
namespace {

using heaps::Unit;
using heaps::UnitKind;

constexpr std::size_t kTableSlots = 8192;
constexpr std::uint16_t kMaxStrata = 4096;
constexpr std::uint64_t kLargeBlockBytes = 64 * 1024;
constexpr std::uint32_t kLeftOut = UINT32_MAX;  // a block in memory that was not examined

/// Four ranges to each doubling, as size classes have.
std::uint64_t range_of(std::uint64_t bytes) noexcept {
  const auto doubling = static_cast<std::uint64_t>(std::bit_width(bytes)) - 1;
  return doubling * 4 + (doubling >= 2 ? bytes >> (doubling - 2) & 3 : 0);
}

/// How full a unit is, which says how much each of its blocks is charged: in eighths, below a half in
/// doublings.
std::uint64_t fill_of(const Unit& unit) noexcept {
  const std::uint64_t size = unit.end - unit.begin, live = std::min(unit.live_bytes, size);
  if (live >= size / 2) return 7 + live / (size / 8 + 1);
  return std::bit_width(live * 128 / size);
}

std::uint64_t class_of(const Unit& unit) noexcept {
  return unit.block_bytes > kLargeBlockBytes ? range_of(unit.block_bytes) << 32 : unit.block_bytes;
}

bool holds_several(const Unit& unit) noexcept {
  return unit.block_bytes == 0 || unit.block_bytes * 2 <= unit.end - unit.begin;
}

/// Units of the same fill are pooled where a size class alone has too few samples.
std::uint8_t group_of(const Unit& unit) noexcept {
  return static_cast<std::uint8_t>(fill_of(unit) + (unit.block_bytes > kLargeBlockBytes ? kGroups / 2 : 0));
}

}  // namespace

bool SampledDivision::begin(std::span<const SampledBlock> blocks) noexcept {
  blocks_ = blocks;
  finder_ = BlockFinder(blocks);
  pieces_of_ = arena_.array<std::uint32_t>(blocks.size() + 1);
  piece_room_ = static_cast<std::uint32_t>(blocks.size()) * 2 + 64;
  pieces_ = arena_.array<Piece>(piece_room_);
  strata_ = arena_.array<Stratum>(kMaxStrata);
  stratum_table_ = arena_.array<std::uint16_t>(kTableSlots);
  if (!pages_.begin(arena_) || !pieces_of_ || !pieces_ || !strata_ || !stratum_table_) return false;
  stratum_count_ = 1;  // 0: blocks that the census did not meet
  return true;
}

std::uint16_t SampledDivision::stratum_of(const Unit& unit) noexcept {
  const std::uint64_t key = (class_of(unit) * kGroups + group_of(unit)) * 2 + holds_several(unit) + 1;
  std::size_t slot = key * 0x9e3779b97f4a7c15u >> 51;
  for (; stratum_table_[slot] != 0; slot = (slot + 1) % kTableSlots)
    if (strata_[stratum_table_[slot]].key == key) return stratum_table_[slot];
  if (stratum_count_ == kMaxStrata) return kMaxStrata - 1;  // the last one takes what finds no room
  strata_[stratum_count_] = {key, class_of(unit), group_of(unit), true, holds_several(unit), 0, 0, 0};
  stratum_table_[slot] = stratum_count_;
  return stratum_count_++;
}

void SampledDivision::add_piece(std::size_t block, std::uint16_t stratum, const Piece& part) noexcept {
  std::uint32_t p = pieces_of_[block];
  while (p != 0 && pieces_[p].stratum != stratum) p = pieces_[p].next;
  if (p == 0) {
    if (piece_count_ == piece_room_) {
      Piece* bigger = arena_.array<Piece>(std::size_t{piece_room_} * 2);
      if (!bigger) return void(out_of_memory_ = true);
      std::copy(pieces_, pieces_ + piece_count_, bigger);
      pieces_ = bigger;
      piece_room_ *= 2;
    }
    p = piece_count_++;
    pieces_[p] = {
        pieces_of_[block], stratum, blocks_[block].site, blocks_[block].weight, 0, 0, 0, 0, 0, 0, 0};
    pieces_of_[block] = p;
  }
  Piece& piece = pieces_[p];
  piece.resident += part.resident;
  piece.nominal += part.nominal;
  piece.usable += part.usable;
  piece.asked += part.asked;
  piece.holes += part.holes;
  piece.alone += part.alone;
  piece.alone_holes += part.alone_holes;
}

void SampledDivision::charge_blocks(const Unit& unit) noexcept {
  const auto resident_bytes = static_cast<double>(pages_.pin(unit.begin, unit.end));
  const double live = std::min(static_cast<double>(unit.live_bytes), resident_bytes);
  const double overhead = std::min(static_cast<double>(unit.overhead_bytes), resident_bytes - live);
  pages_.note_free(unit, resident_bytes - live - overhead);
  const std::uint16_t k = stratum_of(unit);
  strata_[k].resident_bytes += resident_bytes;
  strata_[k].live_bytes += live;
  strata_[k].overhead_bytes += overhead;
  if (unit.live_bytes == 0) return;
  for (std::size_t i = finder_.first_behind(unit.begin); i < blocks_.size() && blocks_[i].begin < unit.end;
       ++i) {
    if (pieces_of_[i] == kLeftOut) continue;
    const SampledBlock& block = blocks_[i];
    const std::uintptr_t from = std::max(block.begin, unit.begin);
    const std::uintptr_t to = std::min(block.begin + block.usable_bytes, unit.end);
    const std::uintptr_t asked_to = std::clamp(block.begin + block.asked_bytes, from, to);
    if (to <= from) continue;
    const double part = std::min(1.0, static_cast<double>(to - from) / static_cast<double>(unit.live_bytes));
    const double usable = static_cast<double>(pages_.resident(from, to));
    const double asked = static_cast<double>(pages_.resident(from, asked_to));
    const double holes = (resident_bytes - live - overhead) * part;
    const double alone = to - from >= unit.live_bytes ? 1 : 0;
    add_piece(i, k,
              {0, k, 0, 0, resident_bytes * part, live * part, usable, asked, holes, resident_bytes * alone,
               holes * alone});
  }
}

/// A block that reaches into memory that was not examined is left out: what was met of it elsewhere does not
/// count either.
void SampledDivision::leave_out(std::size_t block) noexcept {
  for (std::uint32_t p = pieces_of_[block]; p != 0 && p != kLeftOut; p = pieces_[p].next)
    pieces_[p].weight = 0;
  pieces_of_[block] = kLeftOut;
}

void SampledDivision::add(const Unit& unit) noexcept {
  if (unit.end <= unit.begin) return;
  ++units_;
  switch (unit.kind) {
    case UnitKind::kBlocks:
      return charge_blocks(unit);
    case UnitKind::kMetadata:
      return pages_.note_metadata(unit.begin, unit.end);
    case UnitKind::kNotExamined:
      not_examined_ += static_cast<double>(pages_.resident(unit.begin, unit.end));
      for (std::size_t i = finder_.first_behind(unit.begin);
           i < blocks_.size() && blocks_[i].begin < unit.end; ++i)
        leave_out(i);
  }
}

/// Blocks that no unit held: each is charged the pages that it touches.
void SampledDivision::add_uncovered() noexcept {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const SampledBlock& block = blocks_[i];
    if (pieces_of_[i] != 0 || block.usable_bytes == 0) continue;
    ++uncovered_;
    const std::uintptr_t end = block.begin + block.usable_bytes;
    const auto pages = static_cast<double>(pages_.resident(page_of(block.begin), page_end_of(end)));
    const auto usable = static_cast<double>(pages_.resident(block.begin, end));
    const auto asked = static_cast<double>(pages_.resident(block.begin, block.begin + block.asked_bytes));
    add_piece(i, 0, {0, 0, 0, 0, pages, usable, usable, asked, pages - usable, 0, 0});
  }
}

/// Memory that was not examined is taken to be like the rest: where sizes are mixed it holds free memory too;
/// units of one size hold live blocks all. Single blocks are always examined. Sums up the pinned pages.
/// \return headers between blocks
double SampledDivision::scale_up(double heap, HeapTotals* totals) noexcept {
  double single = 0, several = 0, headers = 0;
  bool mixed = false;
  for (std::uint16_t k = 1; k < stratum_count_; ++k) {
    (strata_[k].several ? several : single) += strata_[k].resident_bytes;
    mixed |= strata_[k].several && strata_[k].size_class == 0;
  }
  const double examined = mixed ? heap - single - not_examined_ : several;
  scale_ = examined > 0 ? (examined + not_examined_) / examined : 1;
  for (std::uint16_t k = 1; k < stratum_count_; ++k) {
    Stratum& s = strata_[k];
    if (s.several)
      for (double* bytes : {&s.resident_bytes, &s.live_bytes, &s.overhead_bytes}) *bytes *= scale_;
    totals->pinned += s.resident_bytes;
    headers += s.overhead_bytes;
  }
  return headers;
}

/// Compares what the census counted with what the samples alone say of the same units.
/// \return whether more is live than they account for
bool SampledDivision::compare_live(const BeyondEvidence& evidence, HeapTotals* totals) const noexcept {
  for (std::uint16_t k = 1; k < stratum_count_; ++k) totals->counted_live += strata_[k].live_bytes;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    double nominal = 0;
    if (pieces_of_[i] == kLeftOut) continue;
    for (std::uint32_t p = pieces_of_[i]; p != 0; p = pieces_[p].next)
      if (pieces_[p].stratum != 0) nominal += pieces_[p].nominal;
    totals->recorded_live.add(blocks_[i].weight, nominal);
  }
  set_interval(totals->recorded_live);
  return is_past_mallard(totals->counted_live, totals->recorded_live, evidence);
}

/// Samples stand for memory that was not examined, too, where no known total says how much.
void SampledDivision::scale_weights() noexcept {
  for (std::uint32_t p = 1; p < piece_count_; ++p)
    if (strata_[pieces_[p].stratum].several) pieces_[p].weight *= scale_;
}

bool SampledDivision::sum_up(std::uint64_t heap_resident, const BeyondEvidence& evidence,
                             std::span<SiteShare> sites, HeapTotals* totals) noexcept {
  *totals = {};
  add_uncovered();
  if (out_of_memory_) return false;
  const bool is_past = compare_live(evidence, totals);
  const double on_pinned_pages = pages_.pinned_metadata();
  totals->metadata = pages_.metadata() - on_pinned_pages;
  const double heap = static_cast<double>(heap_resident) - totals->metadata;
  totals->examined = heap > 0 ? std::clamp(1 - not_examined_ / heap, 0.0, 1.0) : 1;
  const double headers = on_pinned_pages + scale_up(heap, totals);
  Beyond beyond = older_ ? Beyond::kOlder : Beyond::kChance;
  if (!older_ && is_past) {
    beyond = Beyond::kPastMallard;
    scale_weights();
  }
  CalibratedTotals sums;
  Piece* const end =
      std::remove_if(pieces_ + 1, pieces_ + piece_count_, [](const Piece& p) { return p.weight == 0; });
  if (!calibrate(arena_, {pieces_ + 1, end}, {strata_, stratum_count_}, beyond, evidence.sample_bytes, sites,
                 &sums))
    return false;
  // Estimated from samples alone, and so bounded by what is there.
  totals->pinned += std::clamp(heap - totals->pinned, 0.0, sums.uncounted);
  totals->headers = headers;
  totals->retained = std::max(0.0, heap - totals->pinned);
  totals->live_usable = std::min(sums.usable, totals->pinned - headers);
  totals->past = sums.past;
  for (double* bytes : {&totals->past.value, &totals->past.low, &totals->past.high})
    *bytes = std::min(*bytes, totals->pinned - headers - totals->live_usable);
  totals->rounding_known = sums.sampled;
  totals->unattributed = sums.unattributed;
  totals->older = older_ && is_past ? std::min(sums.older, sums.live.value) : 0;
  totals->units = units_;
  totals->noted = pages_.noted();
  totals->uncovered_blocks = uncovered_;

  totals->live = sums.live;
  totals->live.value = std::min(sums.live.value, totals->live_usable);
  totals->live.low = std::min(sums.live.low, totals->live.value);
  totals->live.high = std::min(sums.live.high, totals->live_usable);
  Estimate& rounding = totals->rounding;
  rounding.value = totals->live_usable - totals->live.value;
  if (beyond == Beyond::kPastMallard) totals->live.high = sums.live.high;  // no counted total bounds it
  rounding.variance = sums.live.variance;
  rounding.has_interval = totals->live.has_interval;
  rounding.low = totals->live_usable - totals->live.high;
  rounding.high = totals->live_usable - totals->live.low;
  if (beyond == Beyond::kPastMallard && totals->live.value > 0) {  // as far off as what it is a part of
    rounding.low = rounding.value * totals->live.low / totals->live.value;
    rounding.high = rounding.value * totals->live.high / totals->live.value;
  }
  // Counted, as far as all of the heap was looked at and every sampled block was met.
  Estimate& holes = totals->holes;
  holes.value = std::max(0.0, totals->pinned - totals->live_usable - totals->past.value - headers);
  holes.variance = sums.uncounted_variance;
  holes.has_interval = not_examined_ == 0 && sums.uncounted_variance == 0;
  holes.low = holes.high = holes.has_interval ? holes.value : 0;
  return true;
}

}  // namespace mallard::report
