// SPDX-License-Identifier: Apache-2.0
#include "report/divide/strata.hpp"

#include <algorithm>

namespace mallard::report {
namespace {

void add_piece(Cell& c, const Piece& p) noexcept {
  const double extra = p.weight * (p.weight - 1);
  ++c.pieces;
  c.resident += p.weight * p.resident;
  c.nominal += p.weight * p.nominal;
  c.usable += p.weight * p.usable;
  c.asked += p.weight * p.asked;
  c.resident_squared += extra * p.resident * p.resident;
  c.nominal_squared += extra * p.nominal * p.nominal;
  c.asked_squared += extra * p.asked * p.asked;
  c.asked_nominal += extra * p.asked * p.nominal;
}

bool has_enough(const Cell& c) noexcept { return c.pieces >= kMinStratumPieces && c.resident > 0; }

}  // namespace

void add_cell(Cell& to, const Cell& c) noexcept {
  to.pieces += c.pieces;
  to.resident_bytes += c.resident_bytes;
  to.live_bytes += c.live_bytes;
  to.resident += c.resident;
  to.nominal += c.nominal;
  to.usable += c.usable;
  to.asked += c.asked;
  to.resident_squared += c.resident_squared;
  to.nominal_squared += c.nominal_squared;
  to.asked_squared += c.asked_squared;
  to.asked_nominal += c.asked_nominal;
}

bool Cells::make(Arena& arena, std::span<const Piece> pieces, std::span<const Stratum> strata,
                 bool older) noexcept {
  groups_ = strata.size();
  count_ = groups_ + kGroups + 1;
  cells_ = arena.array<Cell>(count_);
  into_ = arena.array<std::uint16_t>(count_);
  if (!cells_ || !into_) return false;
  for (const Piece& p : pieces) add_piece(cells_[p.stratum], p);
  for (std::size_t i = 0; i < count_; ++i) into_[i] = static_cast<std::uint16_t>(i);
  for (std::size_t k = 0; k < groups_; ++k) {
    cells_[k].resident_bytes = strata[k].resident_bytes;
    cells_[k].live_bytes = strata[k].live_bytes;
    if (!strata[k].counted) cells_[k].kind = CellKind::kUncounted;
    else if (!has_enough(cells_[k])) move(k, groups_ + strata[k].group);
  }
  join_groups(groups_, groups_ + kGroups / 2);  // small blocks
  join_groups(groups_ + kGroups / 2, rest());   // large ones
  cells_[rest()].kind = CellKind::kRest;
  for (Cell& c : all()) {
    if (older && c.kind == CellKind::kCalibrated) c.kind = CellKind::kRest;
    c.factor = c.resident > 0 && c.kind != CellKind::kUncounted ? c.resident_bytes / c.resident : 1;
    if (c.kind == CellKind::kRest) c.factor = std::min(c.factor, 1.0);
  }
  return true;
}

/// Neighbours join until they are enough; too few at the end join those before them.
void Cells::join_groups(std::size_t first, std::size_t end) noexcept {
  std::size_t enough = rest();
  for (std::size_t g = first; g + 1 < end; ++g)
    if (has_enough(cells_[g])) enough = g;
    else move(g, g + 1);
  if (!has_enough(cells_[end - 1])) move(end - 1, enough);
}

void Cells::move(std::size_t from, std::size_t to) noexcept {
  add_cell(cells_[to], cells_[from]);
  cells_[from] = {};
  into_[from] = static_cast<std::uint16_t>(to);
}

}  // namespace mallard::report
