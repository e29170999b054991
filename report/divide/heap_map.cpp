// SPDX-License-Identifier: Apache-2.0
#include "report/divide/heap_map.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace mallard::report {
namespace {

using heaps::Unit;
using heaps::UnitKind;

/// Calls `visit(first, last)` for each stretch of neighbouring cells that the ranges touch.
template <class Visit>
void for_each_stretch(std::span<const AddressRange> ranges, int shift, Visit visit) noexcept {
  bool any = false;
  std::uint64_t first = 0, last = 0;
  for (const AddressRange& range : ranges) {
    if (range.end <= range.begin) continue;
    const std::uint64_t from = range.begin >> shift, to = (range.end - 1) >> shift;
    if (any && from <= last + 1) {
      last = std::max(last, to);
      continue;
    }
    if (any) visit(first, last);
    any = true;
    first = from;
    last = to;
  }
  if (any) visit(first, last);
}

struct Counts {
  std::uint64_t cells = 0;
  std::uint32_t stretches = 0;
};

Counts count_cells(std::span<const AddressRange> ranges, int shift) noexcept {
  Counts n;
  for_each_stretch(ranges, shift, [&n](std::uint64_t first, std::uint64_t last) {
    n.cells += last - first + 1;
    ++n.stretches;
  });
  return n;
}

/// Keeps the largest claims: a site with more than a fifth of what is claimed is always among them.
void add_claim(HeapCell& cell, std::uint32_t site, double bytes) noexcept {
  HeapCell::Claim* smallest = cell.claims;
  for (HeapCell::Claim& claim : cell.claims) {
    if (claim.bytes > 0 && claim.site == site) return void(claim.bytes += static_cast<float>(bytes));
    if (claim.bytes < smallest->bytes) smallest = &claim;
  }
  *smallest = {site, smallest->bytes + static_cast<float>(bytes)};
}

std::uint64_t overlap(std::uintptr_t cell_begin, std::uint64_t cell_bytes, std::uintptr_t begin,
                      std::uintptr_t end) noexcept {
  return std::min(end, cell_begin + cell_bytes) - std::max(begin, cell_begin);
}

}  // namespace

bool HeapMap::begin(Arena& arena, std::span<const AddressRange> resident,
                    std::span<const SampledBlock> blocks) noexcept {
  blocks_ = blocks;
  finder_ = BlockFinder(blocks);
  Counts n = count_cells(resident, shift_);
  while (n.cells > kMostCells) {
    shift_ += std::max(1, static_cast<int>(std::bit_width(n.cells / kMostCells)) - 1);
    n = count_cells(resident, shift_);
  }
  auto* stretches = arena.array<HeapStretch>(n.stretches + 1);
  auto* cells = arena.array<HeapCell>(n.cells + 1);
  if (!stretches || !cells) return false;
  stretches_ = {stretches, n.stretches};
  cells_ = {cells, static_cast<std::size_t>(n.cells)};
  std::uint32_t next = 0;
  for_each_stretch(resident, shift_, [&](std::uint64_t first, std::uint64_t last) {
    const auto length = static_cast<std::uint32_t>(last - first + 1);
    *stretches++ = {first << shift_, next, length};
    next += length;
  });
  for (const AddressRange& range : resident)
    for_each_cell(range.begin, range.end,
                  [](HeapCell& cell, std::uint64_t bytes) { cell.resident += bytes; });
  return true;
}

/// The stretch with the cell `key` or, if none has it, the next one. Units mostly ascend.
std::size_t HeapMap::stretch_at(std::uint64_t key) noexcept {
  const auto end_of = [this](std::size_t i) { return (stretches_[i].begin >> shift_) + stretches_[i].count; };
  std::size_t i = stretch_hint_;
  if (i >= stretches_.size() || end_of(i) <= key || (i > 0 && end_of(i - 1) > key))
    i = static_cast<std::size_t>(std::upper_bound(stretches_.begin(), stretches_.end(), key,
                                                  [this](std::uint64_t k, const HeapStretch& s) {
                                                    return k < (s.begin >> shift_) + s.count;
                                                  }) -
                                 stretches_.begin());
  stretch_hint_ = i;
  return i;
}

/// Calls `visit(cell, bytes)` for each cell that the range touches, with how much of the range lies in it.
template <class Visit>
void HeapMap::for_each_cell(std::uintptr_t begin, std::uintptr_t end, Visit visit) noexcept {
  if (begin >= end) return;
  const std::uint64_t last = (end - 1) >> shift_;
  for (std::size_t i = stretch_at(begin >> shift_); i < stretches_.size(); ++i) {
    const HeapStretch& s = stretches_[i];
    const std::uint64_t first = s.begin >> shift_;
    if (first > last) return;
    for (std::uint64_t key = std::max<std::uint64_t>(first, begin >> shift_);
         key <= last && key < first + s.count; ++key)
      visit(cells_[s.first + (key - first)], overlap(key << shift_, cell_bytes(), begin, end));
  }
}

void HeapMap::claim(std::uintptr_t begin, std::uintptr_t end, std::uint32_t site, double bytes) noexcept {
  if (end <= begin) return;
  const double each = bytes / static_cast<double>(end - begin);
  for_each_cell(begin, end, [&](HeapCell& cell, std::uint64_t part) {
    add_claim(cell, site, each * static_cast<double>(part));
  });
}

/// A sampled block stands for others of its site: together they pin their part of the unit.
void HeapMap::claim_blocks(const Unit& unit) noexcept {
  const double fill = static_cast<double>(unit.end - unit.begin) / static_cast<double>(unit.live_bytes);
  for (std::size_t i = finder_.first_behind(unit.begin); i < blocks_.size() && blocks_[i].begin < unit.end;
       ++i) {
    const SampledBlock& block = blocks_[i];
    const std::uintptr_t begin = std::max(block.begin, unit.begin);
    const std::uintptr_t end = std::min(block.begin + block.usable_bytes, unit.end);
    if (begin < end) claim(begin, end, block.site, block.weight * static_cast<double>(end - begin) * fill);
  }
}

void HeapMap::count(std::uintptr_t begin, std::uintptr_t end, double live, double holes) noexcept {
  divided_ = true;
  double all = 0;
  HeapCell* only = nullptr;
  int touched = 0;
  for_each_cell(begin, end, [&](HeapCell& cell, std::uint64_t bytes) {
    all += static_cast<double>(std::min(bytes, cell.resident));
    only = &cell;
    ++touched;
  });
  if (touched == 1) {  // nearly all units
    only->live += live;
    only->holes += holes;
  } else if (all > 0) {
    for_each_cell(begin, end, [&](HeapCell& cell, std::uint64_t bytes) {
      const double part = static_cast<double>(std::min(bytes, cell.resident)) / all;
      cell.live += live * part;
      cell.holes += holes * part;
    });
  }
}

void HeapMap::leave_out(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for_each_cell(begin, end, [](HeapCell& cell, std::uint64_t bytes) {
    cell.not_examined += static_cast<double>(std::min(bytes, cell.resident));
  });
}

void HeapMap::add(const Unit& unit) noexcept {
  if (unit.end <= unit.begin || unit.kind == UnitKind::kMetadata) return;
  if (unit.kind == UnitKind::kNotExamined) return leave_out(unit.begin, unit.end);
  double resident = 0;
  for_each_cell(unit.begin, unit.end, [&resident](HeapCell& cell, std::uint64_t bytes) {
    resident += static_cast<double>(std::min(bytes, cell.resident));
  });
  const double live = std::min(static_cast<double>(unit.live_bytes), resident);
  const double holes = std::max(0.0, resident - live - static_cast<double>(unit.overhead_bytes));
  count(unit.begin, unit.end, live, holes);
  if (unit.live_bytes > 0) claim_blocks(unit);
}

void HeapMap::clear() noexcept {
  for (HeapCell& cell : cells_) cell = {cell.resident, 0, 0, 0, {}};
  divided_ = false;
}

void HeapMap::limit_to_resident() noexcept {
  for (HeapCell& cell : cells_) {
    const auto resident = static_cast<double>(cell.resident);
    cell.live = std::min(cell.live, resident);
    cell.holes = std::min(cell.holes, resident - cell.live);
  }
}

HeapMap* begin_heap_map(Arena& arena, std::span<const AddressRange> resident,
                        std::span<const SampledBlock> blocks) noexcept {
  void* const room = arena.allocate(sizeof(HeapMap), alignof(HeapMap));
  if (!room) return nullptr;
  auto* map = new (room) HeapMap;
  map->begin(arena, resident, blocks);
  return map;
}

}  // namespace mallard::report
