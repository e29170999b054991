// SPDX-License-Identifier: Apache-2.0
#include "report/divide/calibration.hpp"

#include <algorithm>

#include "base/arena.hpp"
#include "report/divide/strata.hpp"

namespace mallard::report {
namespace {

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
      totals->unattributed += std::max(0.0, c.resident_bytes - c.resident);
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

/// How many pieces a site might have had in a cell, by its part of the pieces of the same size class.
struct Expected {
  std::uint16_t cell;
  std::uint32_t site;
  double pieces;
};

/// Sorts the pieces by size class and site, and lists what each site might have had in every cell of the
/// class.
bool expect_pieces(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata, const Cells& cells,
                   Growing<Expected>& out) noexcept {
  const auto class_of = [strata](std::uint16_t k) { return strata[k].size_class; };
  auto* met = arena.array<std::uint32_t>(strata.size() + 1);
  auto* by_class = arena.array<std::uint16_t>(strata.size() + 1);
  if (!met || !by_class) return false;
  std::size_t used = 0;
  for (const Piece& p : pieces)
    if (met[p.stratum]++ == 0) by_class[used++] = p.stratum;
  std::sort(by_class, by_class + used,
            [class_of](std::uint16_t a, std::uint16_t b) { return class_of(a) < class_of(b); });
  std::sort(pieces.begin(), pieces.end(), [class_of](const Piece& a, const Piece& b) {
    if (class_of(a.stratum) != class_of(b.stratum)) return class_of(a.stratum) < class_of(b.stratum);
    return a.site < b.site;
  });
  std::size_t piece = 0;
  for (std::size_t first = 0, end; first < used; first = end) {
    std::uint32_t all = 0;
    for (end = first; end < used && class_of(by_class[end]) == class_of(by_class[first]); ++end)
      all += met[by_class[end]];
    for (const std::size_t stop = piece + all; piece < stop;) {
      const std::size_t begin = piece;
      while (piece < stop && pieces[piece].site == pieces[begin].site) ++piece;
      const double part = static_cast<double>(piece - begin) / all;
      for (std::size_t k = first; k < end; ++k)
        out.add({cells.cell_of(by_class[k]), pieces[begin].site, part * met[by_class[k]]});
    }
  }
  std::sort(out.all().begin(), out.all().end(), [](const Expected& a, const Expected& b) {
    return a.cell != b.cell ? a.cell < b.cell : a.site < b.site;
  });
  return !out.out_of_memory();
}

/// At most this many pieces that were not met count into an error: measured, see docs/decisions.md.
constexpr double kUnseenPieces = 0.2;

/// A site with many blocks in full units and a few in nearly empty ones, which weigh most, may have no sample
/// of the few. Where it has no piece in a cell it might have had one: that is part of its error.
void add_unseen(std::span<const Expected> expected, std::size_t* at, const Piece* met, std::span<Cell> cells,
                std::span<SiteShare> sites) noexcept {
  const auto is_before = [met](const Expected& e) {
    return !met || e.cell < met->stratum || (e.cell == met->stratum && e.site < met->site);
  };
  while (*at < expected.size() && is_before(expected[*at])) {
    const Expected& first = expected[*at];
    double pieces = 0;
    for (; *at < expected.size() && expected[*at].cell == first.cell && expected[*at].site == first.site;
         ++*at)
      pieces += expected[*at].pieces;
    const Cell& c = cells[first.cell];
    if (first.site < sites.size() && c.pieces > 0)
      sites[first.site].resident.variance +=
          std::min(kUnseenPieces, pieces) * c.factor * c.factor * c.resident_squared / c.pieces;
  }
  while (met && *at < expected.size() && expected[*at].cell == met->stratum &&
         expected[*at].site == met->site)
    ++*at;
}

}  // namespace

bool calibrate(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata, bool older,
               std::span<SiteShare> sites, CalibratedTotals* totals) noexcept {
  *totals = {};
  Cells cells;
  Growing<Expected> expected(arena);
  auto* effective = arena.array<Effective>(sites.size() + 1);
  if (!effective || !cells.make(arena, pieces, strata, older) ||
      !expect_pieces(arena, pieces, strata, cells, expected))
    return false;
  sum_live(cells.all(), totals);
  for (Piece& p : pieces) p.stratum = cells.cell_of(p.stratum);
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.stratum != b.stratum ? a.stratum < b.stratum : a.site < b.site;
  });
  std::size_t next_expected = 0;
  for (std::size_t i = 0; i < pieces.size();) {
    const Piece& first = pieces[i];
    add_unseen(expected.all(), &next_expected, &first, cells.all(), sites);
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
  add_unseen(expected.all(), &next_expected, nullptr, cells.all(), sites);
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
