// SPDX-License-Identifier: Apache-2.0
#include "report/calibration.hpp"

#include <algorithm>

namespace mallard::report {
namespace {

enum class CellKind : std::uint8_t {
  kCalibrated,  ///< known totals, divided as the samples say
  kRest,        ///< known totals, too few samples: at most that much
  kUncounted,   ///< no totals
};

/// A stratum, or several that share a factor: what is known of it, and sums over its pieces.
struct Cell {
  CellKind kind;
  double resident_bytes, live_bytes;  ///< known
  std::uint32_t pieces;
  double resident, nominal, usable, asked;  ///< weighted
  double resident_squared;                  ///< w (w - 1) resident^2, and so on
  double nominal_squared, asked_squared, asked_nominal;
  double factor;  ///< that weighted bytes are multiplied by
};

/// Sums over the pieces of one site in one stratum: a column x and its products, weighted by w (w - 1).
struct ColumnSums {
  double value, squared, times_resident;
  void add(double weight, double x, double resident) noexcept {
    const double extra = weight * (weight - 1);
    value += weight * x;
    squared += extra * x * x;
    times_resident += extra * x * resident;
  }
};

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

bool has_enough(const Cell& c) noexcept { return c.pieces >= kMinStratumPieces && c.resident > 0; }

/// Strata with too few samples become one cell with others of their group and, if these are too few together,
/// with the next groups. What is left is the rest, whose factor only lowers: raising it would put the memory
/// of many on the site of one sample.
class Cells {
 public:
  bool make(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata) noexcept {
    groups_ = strata.size();
    count_ = groups_ + kGroups + 1;
    cells_ = arena.array<Cell>(count_);
    into_ = arena.array<std::uint16_t>(count_);
    if (!cells_ || !into_) return false;
    for (const Piece& p : pieces)
      if (p.weight > 0) add_piece(cells_[p.stratum], p);
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
      c.factor = c.resident > 0 && c.kind != CellKind::kUncounted ? c.resident_bytes / c.resident : 1;
      if (c.kind == CellKind::kRest) c.factor = std::min(c.factor, 1.0);
    }
    for (Piece& p : pieces)
      while (into_[p.stratum] != p.stratum) p.stratum = into_[p.stratum];
    return true;
  }

  std::span<Cell> all() noexcept { return {cells_, count_}; }

 private:
  std::size_t rest() const noexcept { return count_ - 1; }

  /// Neighbours join until they are enough; too few at the end join those before them.
  void join_groups(std::size_t first, std::size_t end) noexcept {
    std::size_t enough = rest();
    for (std::size_t g = first; g + 1 < end; ++g)
      if (has_enough(cells_[g])) enough = g;
      else move(g, g + 1);
    if (!has_enough(cells_[end - 1])) move(end - 1, enough);
  }

  void move(std::size_t from, std::size_t to) noexcept {
    add_cell(cells_[to], cells_[from]);
    cells_[from] = {};
    into_[from] = static_cast<std::uint16_t>(to);
  }

  Cell* cells_ = nullptr;
  std::uint16_t* into_ = nullptr;  ///< the cell that took it; itself if none did
  std::size_t groups_ = 0, count_ = 0;
};

/// Adds what a site has in a cell to an estimate. Calibrated, the error is that of residuals from the cell's
/// total, x - share * resident; one more piece, of another site, is supposed unseen, so that a site which
/// owns all that was sampled is not called exact.
void add_column(Estimate& to, const ColumnSums& x, const Cell& c) noexcept {
  to.value += c.factor * x.value;
  double variance = x.squared;
  if (c.kind == CellKind::kCalibrated) {
    const double share = x.value / c.resident;
    const double all = c.resident_squared * (1 + 1.0 / c.pieces);
    variance = x.squared - 2 * share * x.times_resident + share * share * all;
  }
  to.variance += c.factor * c.factor * std::max(0.0, variance);
}

/// The ratios of requested and of usable to nominal bytes, applied to known live bytes.
void add_live(const Cell& c, double live_bytes, CalibratedTotals* totals) noexcept {
  const double factor = live_bytes / c.nominal, ratio = c.asked / c.nominal;
  totals->live.value += factor * c.asked;
  totals->usable += factor * c.usable;
  const double variance = c.asked_squared - 2 * ratio * c.asked_nominal + ratio * ratio * c.nominal_squared;
  totals->live.variance += factor * factor * std::max(0.0, variance);
}

void sum_live(std::span<const Cell> cells, CalibratedTotals* totals) noexcept {
  Cell all{};
  for (const Cell& c : cells) {
    add_cell(all, c);
    if (c.kind == CellKind::kUncounted) {
      totals->uncounted += c.resident;
      totals->uncounted_variance += c.resident_squared;
      totals->live.value += c.asked;
      totals->live.variance += c.asked_squared;
      totals->usable += c.usable;
    } else if (c.kind == CellKind::kRest) {
      totals->unattributed = std::max(0.0, c.resident_bytes - c.resident);
    }
  }
  totals->sampled = all.nominal > 0;
  for (const Cell& c : cells) {
    if (c.kind == CellKind::kUncounted || c.live_bytes <= 0) continue;
    if (totals->sampled) {
      add_live(c.nominal > 0 ? c : all, c.live_bytes, totals);
    } else {
      totals->live.value += c.live_bytes;
      totals->usable += c.live_bytes;
    }
  }
  finish(totals->live);
  if (all.asked * all.asked < kMinEffectiveSamples * all.asked_squared) totals->live.has_interval = false;
}

/// Raw sums of a site's resident bytes: how many effective samples stand behind it.
struct Effective {
  double value, squared;
};

}  // namespace

bool calibrate(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata,
               std::span<SiteShare> sites, CalibratedTotals* totals) noexcept {
  *totals = {};
  Cells cells;
  auto* effective = arena.array<Effective>(sites.size() + 1);
  if (!effective || !cells.make(arena, pieces, strata)) return false;
  sum_live(cells.all(), totals);
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.stratum != b.stratum ? a.stratum < b.stratum : a.site < b.site;
  });
  for (std::size_t i = 0; i < pieces.size();) {
    const Piece& first = pieces[i];
    ColumnSums resident{}, live{}, holes{};
    for (; i < pieces.size() && pieces[i].stratum == first.stratum && pieces[i].site == first.site; ++i) {
      const Piece& p = pieces[i];
      resident.add(p.weight, p.resident, p.resident);
      live.add(p.weight, p.asked, p.resident);
      holes.add(p.weight, p.holes, p.resident);
    }
    if (first.site >= sites.size()) continue;  // a site made after the rows were read
    SiteShare& share = sites[first.site];
    const Cell& c = cells.all()[first.stratum];
    add_column(share.resident, resident, c);
    add_column(share.live, live, c);
    add_column(share.holes, holes, c);
    effective[first.site].value += c.factor * resident.value;
    effective[first.site].squared += c.factor * c.factor * resident.squared;
  }
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const bool enough =
        effective[i].value * effective[i].value >= kMinEffectiveSamples * effective[i].squared;
    for (Estimate* e : {&sites[i].resident, &sites[i].live, &sites[i].holes}) {
      finish(*e);
      if (!enough) e->has_interval = false;
    }
  }
  return true;
}

}  // namespace mallard::report
