// SPDX-License-Identifier: Apache-2.0
#include "report/judge/trend.hpp"

#include <algorithm>
#include <initializer_list>

namespace mallard::report {
namespace {

/// Less work than this, and than this part of the level, teaches nothing.
constexpr double kLeastWorkBytes = 1e6, kLeastWorkShare = 0.01;
/// The newest points that stay whatever their distance.
constexpr int kNewest = 4;
/// Growth is seen in this many stretches of equal work, and each of them does so much of its share: more
/// where there are few points, because four levels ascend by chance once in 24 times.
constexpr int kStretches = 3;
constexpr int kFewPoints = 6;
constexpr double kLeastEvenness = 0.4, kLeastEvennessOfFew = 0.6;
/// What keeps nearly all that it allocates may be loading its data: it is given a stretch more, and one more
/// where nearly all that is live came up meanwhile.
constexpr double kLoadingShare = 0.8;
/// A stretch is no shorter than this part of the whole.
constexpr double kLeastStretch = 0.08;
/// What fills up slows down: the last stretch does so much of what the first one did.
constexpr double kLeastPaceKept = 0.75;
/// Growth stands out of the usual ups and downs.
constexpr double kLeastOverDrawdown = 3;
constexpr double kLeastGrowthBytes = 2 << 20, kLeastGrowthShare = 0.02, kLeastErrors = 3;
/// Blocks born in the first two stretches make up so much of the growth of these: what only happens to be
/// high now is younger.
constexpr double kLeastSurvivors = 0.5;

double error_between(const TrendPoint& a, const TrendPoint& b) noexcept {
  return math::sqrt(a.error * a.error + b.error * b.error);
}

/// Along what growth is looked at: work, or blocks allocated, or time; some programs allocate ever more for
/// the same growth, as those do whose buffers grow by realloc.
enum class Axis { kWork, kBlocks, kTime };
constexpr Axis kAxes[] = {Axis::kWork, Axis::kBlocks, Axis::kTime};

double along(Axis axis, const TrendPoint& p) noexcept {
  switch (axis) {
    case Axis::kWork:
      break;
    case Axis::kBlocks:
      return p.blocks;
    case Axis::kTime:
      return static_cast<double>(p.learned_ns);
  }
  return p.work;
}

/// The point in [begin, end) that is nearest to `where`.
const TrendPoint* nearest(Axis axis, const TrendPoint* begin, const TrendPoint* end, double where) noexcept {
  const auto distance = [axis, where](const TrendPoint& p) {
    const double at = along(axis, p);
    return at > where ? at - where : where - at;
  };
  return std::min_element(
      begin, end, [&](const TrendPoint& a, const TrendPoint& b) { return distance(a) < distance(b); });
}

/// Makes room: drops the point whose neighbours are nearest, measured by how long ago it was.
int drop_one(TrendSeries* series) noexcept {
  TrendPoint* const p = series->points;
  const double now = p[series->count - 1].work;
  int least = 1;
  double least_gap = 0;
  for (int i = 1; i < series->count - kNewest; ++i) {
    const double gap = (p[i + 1].work - p[i - 1].work) / (now - p[i].work + 1);
    if (i > 1 && gap >= least_gap) continue;
    least = i;
    least_gap = gap;
  }
  const int slot = p[least].slot;
  std::copy(p + least + 1, p + series->count, p + least);
  --series->count;
  return slot;
}

class Window {
 public:
  Window(const TrendSeries& series, int from, Axis axis) noexcept
      : series_(series), axis_(axis), first_(series.points + from), last_(series.points + series.count - 1) {
    const double begin = along(axis, *first_), third = work() / kStretches;
    bounds_[0] = first_;
    bounds_[1] = nearest(axis, first_ + 1, last_ - 1, begin + third);
    bounds_[2] = nearest(axis, bounds_[1] + 1, last_, begin + 2 * third);
    bounds_[3] = last_;
  }

  double growth() const noexcept { return last_->lowest - first_->lowest; }

  bool grows(const Survivors& survivors) const noexcept {
    return is_large() && is_long_enough() && each_stretch_grows() && keeps_its_pace() && goes_on() &&
           has_survivors(survivors);
  }

 private:
  /// It is more than errors, ups and downs make.
  bool is_large() const noexcept {
    const double least = std::max({kLeastErrors * error_between(*first_, *last_), kLeastGrowthBytes,
                                   kLeastGrowthShare * last_->lowest, kLeastOverDrawdown * series_.drawdown});
    return growth() >= least;
  }

  bool is_long_enough() const noexcept {
    const bool keeps_all = growth() >= kLoadingShare * (last_->work - first_->work);
    const bool is_all = growth() >= kLoadingShare * last_->lowest;
    return last_ - first_ >= kStretches + (keeps_all ? (is_all ? 2 : 1) : 0);
  }

  double work() const noexcept { return along(axis_, *last_) - along(axis_, *first_); }
  double work(int stretch) const noexcept {
    return along(axis_, *bounds_[stretch + 1]) - along(axis_, *bounds_[stretch]);
  }
  double growth(int stretch) const noexcept {
    return bounds_[stretch + 1]->lowest - bounds_[stretch]->lowest;
  }

  bool each_stretch_grows() const noexcept {
    if (work() <= 0) return false;
    const double evenness = last_ - first_ + 1 < kFewPoints ? kLeastEvennessOfFew : kLeastEvenness;
    for (int i = 0; i < kStretches; ++i) {
      const double share = growth() * work(i) / work();
      if (work(i) < kLeastStretch * work() || growth(i) < evenness * share ||
          growth(i) <= error_between(*bounds_[i], *bounds_[i + 1]))
        return false;
    }
    return true;
  }

  bool keeps_its_pace() const noexcept {
    const double first_pace = growth(0) / work(0);
    const double last_pace = (growth(kStretches - 1) + series_.drawdown) / work(kStretches - 1);
    return last_pace >= kLeastPaceKept * first_pace && keeps_its_pace_by_report();
  }

  /// Where others have the processors time passes without work, and what fills up seems to go on: from report
  /// to report it slows down. Told as long as each report is a point.
  bool keeps_its_pace_by_report() const noexcept {
    if (axis_ != Axis::kTime || series_.count == kTrendPoints) return true;
    const auto by_report = [this](int stretch, double more) {
      return (growth(stretch) + more) / static_cast<double>(bounds_[stretch + 1] - bounds_[stretch]);
    };
    return by_report(kStretches - 1, series_.drawdown) >= kLeastPaceKept * by_report(0, 0);
  }

  /// The latest reports saw some of what was to be expected of them, as soon as that can be told; and the
  /// very latest one was no fall deeper than all before it.
  bool goes_on() const noexcept {
    constexpr double kErrors = 4, kDrawdowns = 2, kLeast = 0.2, kDeeper = 1.1;
    const TrendPoint& before = last_[-1];
    const double fall = before.level - last_->level;
    if (fall > error_between(before, *last_) && fall > kDeeper * series_.drawdown_before) return false;
    for (const TrendPoint* p = &before; p > first_; --p) {
      const double expected = growth() * (along(axis_, *last_) - along(axis_, *p)) / work();
      if (expected <= std::max(kErrors * error_between(*p, *last_), kDrawdowns * series_.drawdown)) continue;
      return last_->lowest - p->lowest >= kLeast * expected;
    }
    return true;
  }

  bool has_survivors(const Survivors& survivors) const noexcept {
    if (!survivors.born) return true;
    const Estimate s = survivors.born(first_->taken_ns, bounds_[2]->taken_ns, survivors.opaque);
    const double early = growth(0) + growth(1), least = kLeastSurvivors * early;
    const double grown =
        survivors.grown ? survivors.grown(first_->slot, survivors.opaque) * early / growth() : 0;
    // Only blocks that grow make ever more work of the same growth.
    if (axis_ == Axis::kBlocks) return survivors.grown && grown >= least;
    return s.value + 2 * math::sqrt(s.variance) + grown >= least;
  }

  const TrendSeries& series_;
  const Axis axis_;
  const TrendPoint *first_, *last_;
  const TrendPoint* bounds_[kStretches + 1];
};

}  // namespace

TrendPoint& add_level(TrendSeries* series, std::uint64_t taken_ns, double allocated, double blocks,
                      double level, double error) noexcept {
  series->peak = std::max(series->peak, level);
  series->drawdown_before = series->drawdown;
  series->drawdown = std::max(series->drawdown, series->peak - level);
  for (int i = 0; i < series->count; ++i)
    series->points[i].lowest = std::min(series->points[i].lowest, level);
  double work = allocated;
  if (series->count > 0) {
    TrendPoint& latest = series->points[series->count - 1];
    const double done = std::max(allocated - latest.allocated, level - latest.first_level);
    if (done < std::max(kLeastWorkBytes, kLeastWorkShare * level)) {
      latest.taken_ns = taken_ns;
      latest.level = latest.lowest = level;
      latest.error = error;
      return latest;
    }
    work = latest.work + done;
  }
  const int slot = series->count == kTrendPoints ? drop_one(series) : series->count;
  TrendPoint& added = series->points[series->count++];
  return added = {taken_ns, taken_ns, allocated, blocks, work,
                  level,    level,    error,     level,  static_cast<std::uint8_t>(slot)};
}

Trend find_trend(const TrendSeries& series, const Survivors& survivors, int* from) noexcept {
  Trend trend{};
  trend.stretches = series.count > 0 ? series.count - 1 : 0;
  if (series.count == 0) return trend;
  const TrendPoint &first = series.points[0], &last = series.points[series.count - 1];
  const auto tell = [&](Trend::State state, const TrendPoint& begin) {
    trend.state = state;
    trend.bytes = last.lowest - begin.lowest;
    trend.error = error_between(begin, last);
    trend.allocated = last.allocated - begin.allocated;
    trend.ago_ns = last.taken_ns - begin.taken_ns;
    trend.idle_ns = last.taken_ns - last.learned_ns;
    return trend;
  };
  for (int i = 0; i + kStretches < series.count; ++i)  // the longest first
    for (const Axis axis : kAxes)
      if (Window(series, i, axis).grows(survivors)) {
        *from = i;
        return tell(Trend::State::kGrows, series.points[i]);
      }
  // What came up lately may go on, and so may what came up over the later half.
  for (const int back : {series.count - 1 - kStretches, series.count / 2}) {
    const TrendPoint& lately = series.points[std::max(0, back)];
    const double least = std::max({kLeastErrors * error_between(lately, last), kLeastGrowthBytes,
                                   kLeastGrowthShare * last.lowest, series.drawdown});
    if (last.lowest - lately.lowest >= least) return tell(Trend::State::kGrew, lately);
  }
  return tell(series.count > kStretches ? Trend::State::kFlat : Trend::State::kTooFew, first);
}

}  // namespace mallard::report
