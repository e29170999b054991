// SPDX-License-Identifier: Apache-2.0
#include "report/divide/calibration.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/arena.hpp"

namespace mallard::report {
namespace {

enum class PoolKind : std::uint8_t {
  kCalibrated,  ///< known totals, divided as the samples say
  kRest,        ///< known totals, too few samples: at most that much
  kPast,        ///< known totals, of which the samples account for less than chance allows
  kUncounted,   ///< no totals
};

/// A stratum, or several that share a factor: what is known of it, and sums over its pieces.
struct StratumPool {
  PoolKind kind;
  double resident_bytes, live_bytes;  ///< known
  std::uint32_t pieces;
  double resident, nominal, usable, asked;  ///< weighted
  double resident_squared;                  ///< w (w - 1) resident^2, and so on
  double nominal_squared, asked_squared, asked_nominal;
  double factor;  ///< that weighted bytes are multiplied by
};

void add_piece(StratumPool& c, const Piece& p) noexcept {
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

bool has_enough(const StratumPool& c) noexcept { return c.pieces >= kMinStratumPieces && c.resident > 0; }

void add_pool(StratumPool& to, const StratumPool& c) noexcept {
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

/// Strata with too few samples become one pool with others of their group and, if these are too few together,
/// with the next groups. What is left is the rest, whose factor only lowers: raising it would put the memory
/// of many on the site of one sample.
class StratumPools {
 public:
  /// \param beyond  other than by chance: no factor raises
  /// \return false if memory is out
  bool make(Arena& arena, std::span<const Piece> pieces, std::span<const Stratum> strata, Beyond beyond,
            double sample_bytes) noexcept;

  std::span<StratumPool> all() noexcept { return {pools_, count_}; }
  std::uint16_t pool_of(std::uint16_t stratum) const noexcept {
    while (into_[stratum] != stratum) stratum = into_[stratum];
    return stratum;
  }

 private:
  void join_groups(std::size_t first, std::size_t end) noexcept;
  void move(std::size_t from, std::size_t to) noexcept;
  std::size_t rest() const noexcept { return count_ - 1; }

  StratumPool* pools_ = nullptr;
  std::uint16_t* into_ = nullptr;  ///< the pool that took it; itself if none did
  std::size_t groups_ = 0, count_ = 0;
};

bool is_past(const StratumPool& c, double sample_bytes) noexcept {
  return c.live_bytes - c.nominal > sampling_margin(c.nominal_squared, sample_bytes, kErrorsOfStratum);
}

bool StratumPools::make(Arena& arena, std::span<const Piece> pieces, std::span<const Stratum> strata,
                        Beyond beyond, double sample_bytes) noexcept {
  groups_ = strata.size();
  count_ = groups_ + kGroups + 1;
  pools_ = arena.array<StratumPool>(count_);
  into_ = arena.array<std::uint16_t>(count_);
  if (!pools_ || !into_) return false;
  for (const Piece& p : pieces) add_piece(pools_[p.stratum], p);
  for (std::size_t i = 0; i < count_; ++i) into_[i] = static_cast<std::uint16_t>(i);
  for (std::size_t k = 0; k < groups_; ++k) {
    pools_[k].resident_bytes = strata[k].resident_bytes;
    pools_[k].live_bytes = strata[k].live_bytes;
    if (!strata[k].counted) pools_[k].kind = PoolKind::kUncounted;
    else if (!has_enough(pools_[k])) move(k, groups_ + strata[k].group);
  }
  join_groups(groups_, groups_ + kGroups / 2);  // small blocks
  join_groups(groups_ + kGroups / 2, rest());   // large ones
  pools_[rest()].kind = PoolKind::kRest;
  for (StratumPool& c : all()) {
    if (beyond == Beyond::kOlder && c.kind == PoolKind::kCalibrated) c.kind = PoolKind::kRest;
    if (beyond == Beyond::kPastMallard && c.kind != PoolKind::kUncounted && is_past(c, sample_bytes))
      c.kind = PoolKind::kPast;
    c.factor = c.resident > 0 && c.kind != PoolKind::kUncounted ? c.resident_bytes / c.resident : 1;
    if (c.kind != PoolKind::kCalibrated) c.factor = std::min(c.factor, 1.0);
  }
  return true;
}

/// Neighbours join until they are enough; too few at the end join those before them.
void StratumPools::join_groups(std::size_t first, std::size_t end) noexcept {
  std::size_t enough = rest();
  for (std::size_t g = first; g + 1 < end; ++g)
    if (has_enough(pools_[g])) enough = g;
    else move(g, g + 1);
  if (!has_enough(pools_[end - 1])) move(end - 1, enough);
}

void StratumPools::move(std::size_t from, std::size_t to) noexcept {
  add_pool(pools_[to], pools_[from]);
  pools_[from] = {};
  into_[from] = static_cast<std::uint16_t>(to);
}

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

/// Adds what a site has in a pool to an estimate. Calibrated, the error is that of residuals from the pool's
/// total, x - share * resident; one more piece, of another site, is supposed unseen, so that a site which
/// owns all that was sampled is not called exact.
void add_column(Estimate& to, const ColumnSums& x, const StratumPool& c) noexcept {
  to.value += c.factor * x.value;
  double variance = x.squared;
  if (c.kind == PoolKind::kCalibrated) {
    const double share = x.value / c.resident;
    const double all = c.resident_squared * (1 + 1.0 / c.pieces);
    variance = x.squared - 2 * share * x.times_resident + share * share * all;
  }
  to.variance += c.factor * c.factor * std::max(0.0, variance);
}

/// The ratios of requested and of usable to nominal bytes, applied to known live bytes.
void add_live(const StratumPool& c, double live_bytes, CalibratedTotals* totals) noexcept {
  const double factor = live_bytes / c.nominal, ratio = c.asked / c.nominal;
  totals->live.value += factor * c.asked;
  totals->usable += factor * c.usable;
  const double variance = c.asked_squared - 2 * ratio * c.asked_nominal + ratio * ratio * c.nominal_squared;
  totals->live.variance += factor * factor * std::max(0.0, variance);
}

/// Blocks older than the samples: how much they were asked for nobody knows, and the ratio of those that were
/// sampled is not theirs. They count as live, rounding included; only the rest has an error.
void add_live_and_older(const StratumPool& c, CalibratedTotals* totals) noexcept {
  const double recorded = std::min(c.live_bytes, c.nominal), older = c.live_bytes - recorded;
  const double factor = c.nominal > 0 ? recorded / c.nominal : 0;
  totals->live.value += factor * c.asked + older;
  totals->usable += factor * c.usable + older;
  totals->older += older;
  const double variance = c.asked_squared - 2 * c.asked_nominal + c.nominal_squared;
  totals->live.variance += factor * factor * std::max(0.0, variance);
}

/// What is live in the pools whose samples account for too little.
Estimate sum_past(std::span<const StratumPool> pools, double sample_bytes) noexcept {
  double live = 0;
  Estimate recorded;
  for (const StratumPool& c : pools) {
    if (c.kind != PoolKind::kPast) continue;
    live += c.live_bytes;
    recorded.value += c.nominal;
    recorded.variance += c.nominal_squared;
  }
  return live > 0 ? rest_of(live, recorded, sample_bytes) : Estimate{0, 0, true, 0, 0};
}

void sum_live(std::span<const StratumPool> pools, Beyond beyond, CalibratedTotals* totals) noexcept {
  StratumPool all{};
  for (const StratumPool& c : pools) {
    add_pool(all, c);
    if (c.kind == PoolKind::kUncounted) {
      totals->uncounted += c.resident;
      totals->uncounted_variance += c.resident_squared;
      totals->live.value += c.asked;
      totals->live.variance += c.asked_squared;
      totals->usable += c.usable;
    } else if (c.kind == PoolKind::kRest || c.kind == PoolKind::kPast) {
      totals->unattributed += std::max(0.0, c.resident_bytes - c.resident);
    }
  }
  totals->sampled = all.nominal > 0;
  for (const StratumPool& c : pools) {
    if (c.kind == PoolKind::kUncounted || c.live_bytes <= 0) continue;
    if (c.kind == PoolKind::kPast) {
      if (c.nominal > 0) add_live(c, c.nominal, totals);
      totals->live.variance += c.asked_squared;
    } else if (totals->sampled && beyond == Beyond::kOlder) {
      add_live_and_older(c, totals);
    } else if (totals->sampled) {
      add_live(c.nominal > 0 ? c : all, c.live_bytes, totals);
    } else {
      totals->live.value += c.live_bytes;
      totals->usable += c.live_bytes;
    }
  }
  set_interval(totals->live);
  if (all.asked * all.asked < kMinEffectiveSamples * all.asked_squared) totals->live.has_interval = false;
}

/// Raw sums of a site's resident bytes: how many effective samples stand behind it.
struct Effective {
  double value, squared;
};

/// How many pieces a site might have had in a pool, by its part of the pieces of the same size class.
struct Expected {
  std::uint16_t pool;
  std::uint32_t site;
  double pieces;
};

/// Sorts the pieces by size class and site, and lists what each site might have had in every pool of the
/// class.
bool expect_pieces(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata,
                   const StratumPools& pools, Growing<Expected>& out) noexcept {
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
        out.add({pools.pool_of(by_class[k]), pieces[begin].site, part * met[by_class[k]]});
    }
  }
  std::sort(out.all().begin(), out.all().end(), [](const Expected& a, const Expected& b) {
    return a.pool != b.pool ? a.pool < b.pool : a.site < b.site;
  });
  return !out.out_of_memory();
}

/// At most this many pieces that were not met count into an error: measured, see docs/decisions.md.
constexpr double kUnseenPieces = 0.2;

/// A site with many blocks in full units and a few in nearly empty ones, which weigh most, may have no sample
/// of the few. Where it has no piece in a pool it might have had one: that is part of its error.
void add_unseen(std::span<const Expected> expected, std::size_t* at, const Piece* met,
                std::span<StratumPool> pools, std::span<SiteShare> sites) noexcept {
  const auto is_before = [met](const Expected& e) {
    return !met || e.pool < met->stratum || (e.pool == met->stratum && e.site < met->site);
  };
  while (*at < expected.size() && is_before(expected[*at])) {
    const Expected& first = expected[*at];
    double pieces = 0;
    for (; *at < expected.size() && expected[*at].pool == first.pool && expected[*at].site == first.site;
         ++*at)
      pieces += expected[*at].pieces;
    const StratumPool& c = pools[first.pool];
    if (first.site < sites.size() && c.pieces > 0)
      sites[first.site].resident.variance +=
          std::min(kUnseenPieces, pieces) * c.factor * c.factor * c.resident_squared / c.pieces;
  }
  while (met && *at < expected.size() && expected[*at].pool == met->stratum &&
         expected[*at].site == met->site)
    ++*at;
}

}  // namespace

bool calibrate(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata, Beyond beyond,
               double sample_bytes, std::span<SiteShare> sites, CalibratedTotals* totals) noexcept {
  *totals = {};
  StratumPools pools;
  Growing<Expected> expected(arena);
  auto* effective = arena.array<Effective>(sites.size() + 1);
  if (!effective || !pools.make(arena, pieces, strata, beyond, sample_bytes) ||
      !expect_pieces(arena, pieces, strata, pools, expected))
    return false;
  sum_live(pools.all(), beyond, totals);
  totals->past = sum_past(pools.all(), sample_bytes);
  for (Piece& p : pieces) p.stratum = pools.pool_of(p.stratum);
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.stratum != b.stratum ? a.stratum < b.stratum : a.site < b.site;
  });
  std::size_t next_expected = 0;
  for (std::size_t i = 0; i < pieces.size();) {
    const Piece& first = pieces[i];
    add_unseen(expected.all(), &next_expected, &first, pools.all(), sites);
    ColumnSums resident{}, live{}, holes{}, alone{}, alone_holes{};
    for (; i < pieces.size() && pieces[i].stratum == first.stratum && pieces[i].site == first.site; ++i) {
      const Piece& p = pieces[i];
      resident.add(p.weight, p.resident, p.resident);
      live.add(p.weight, p.asked, p.resident);
      holes.add(p.weight, p.holes, p.resident);
      alone.add(p.weight, p.alone, p.resident);
      alone_holes.add(p.weight, p.alone_holes, p.resident);
    }
    if (first.site >= sites.size()) continue;  // a site made after the rows were read
    SiteShare& share = sites[first.site];
    const StratumPool& c = pools.all()[first.stratum];
    add_column(share.resident, resident, c);
    add_column(share.live, live, c);
    add_column(share.holes, holes, c);
    add_column(share.alone, alone, c);
    add_column(share.alone_holes, alone_holes, c);
    effective[first.site].value += c.factor * resident.value;
    effective[first.site].squared += c.factor * c.factor * resident.squared;
  }
  add_unseen(expected.all(), &next_expected, nullptr, pools.all(), sites);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const bool enough =
        effective[i].value * effective[i].value >= kMinEffectiveSamples * effective[i].squared;
    for (Estimate* e :
         {&sites[i].resident, &sites[i].live, &sites[i].holes, &sites[i].alone, &sites[i].alone_holes}) {
      set_interval(*e);
      if (!enough) e->has_interval = false;
    }
  }
  return true;
}

}  // namespace mallard::report
