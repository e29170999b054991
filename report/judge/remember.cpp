// SPDX-License-Identifier: Apache-2.0
#include "report/judge/remember.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "report/judge/past.hpp"
#include "report/judge/trend.hpp"

namespace mallard::report {
namespace {

constexpr double kNormal95 = 1.96;

/// Sites of a report that are remembered, those with the most live bytes: 256 KiB a report where all are
/// used.
constexpr std::uint32_t kRememberedSites = 8192;

struct RememberedSite {
  std::uint32_t id;
  float live_count;
  double live_bytes, live_variance;
  std::uint64_t largest_bytes;
};

struct RememberedSites {
  bool all;
  std::uint32_t count;
  double least_bytes;                      ///< those that are not here had no more
  RememberedSite sites[kRememberedSites];  ///< by id

  const RememberedSite* find(std::uint32_t id) const noexcept {
    const RememberedSite* end = sites + count;
    const RememberedSite* at = std::lower_bound(
        sites, end, id, [](const RememberedSite& s, std::uint32_t wanted) { return s.id < wanted; });
    return at != end && at->id == id ? at : nullptr;
  }
};

/// The books that a report tells of. Reports of others cannot be compared with it.
struct Books {
  std::uint64_t began_ns;
  bool exact;
  bool operator==(const Books&) const noexcept = default;
};

Books books_of(const Snapshot& s) noexcept {
  const bool exact = s.recording.exact.on;
  return {exact ? record::exact_since_ns() : record::started_ns(), exact};
}

struct RememberedReport {
  std::uint64_t taken_ns;  ///< CLOCK_MONOTONIC; 0 = none
  Books books;
  std::uint64_t rss_bytes;
  Estimate live;
  bool ledger_known, ledger_divided;
  double causes[kCauseCount];
  RememberedSites sites;
};
static_assert(kCauseCount <= static_cast<int>(sizeof Change{}.causes / sizeof Change{}.causes[0]));

/// The reports at the points of the trend.
struct Remembered {
  Books books;
  bool divided;
  TrendSeries live, heap;
  int slot;                             ///< of the report that is being made
  RememberedSites sites[kTrendPoints];  ///< by TrendPoint::slot, of `live`
};

MALLARD_LARGE_DATA constinit RememberedReport g_first{}, g_previous{};
MALLARD_LARGE_DATA constinit Remembered g_trend{};
MALLARD_FORK_DATA constinit std::uint32_t g_reports = 0;
MALLARD_PART(first_report, g_first);
MALLARD_PART(previous_report, g_previous);
MALLARD_PART(trend, g_trend);
MALLARD_PART(reports, g_reports);
constinit std::uint64_t g_books_read_ns = 0;  ///< of the report that is being made

/// \param then  the sum in the earlier report
/// \param old   the part of it that is still live
/// \param now   all that is live now
Growth growth(const Estimate& then, const Estimate& old, const Estimate& now) noexcept {
  Growth g;
  g.known = true;
  g.bytes = now.value - then.value;
  const double born = now.variance - old.variance, freed = then.variance - old.variance;
  g.variance = (born > 0 ? born : 0) + (freed > 0 ? freed : 0);
  return g;
}

/// Fills one of the growths of each row; row.live_bytes holds the sums of now.
/// \param bounded  a site that is not remembered counts as if it had had as much as those that are, at most
/// \return the variance of what was live then already
double compare_rows(const RememberedSites& then, std::uint64_t taken_ns, const RecordCopy& copy, bool exact,
                    bool bounded, Growth SiteHistory::*to) noexcept {
  // The variance of the blocks that were live then already, for want of other room in the growth itself.
  double old_variance = 0;
  for (const record::LiveBlock& b : exact ? std::span<const record::LiveBlock>() : copy.blocks) {
    SiteRow* const row = b.born_ns > taken_ns ? nullptr : copy.find(b.site);
    if (!row) continue;
    Estimate old;
    old.add(b.weight, static_cast<double>(b.asked_bytes));
    (row->history.*to).variance += old.variance;
    old_variance += old.variance;
  }
  for (SiteRow& row : copy.all_rows()) {
    Growth& g = row.history.*to;
    const Estimate old{0, g.variance, false, 0, 0};
    g = {};
    const RememberedSite* site = then.find(row.id);
    if (!site && !then.all && (!bounded || row.live_bytes.value <= then.least_bytes)) continue;
    Estimate before;
    if (site) before = {site->live_bytes, site->live_variance, false, 0, 0};
    else if (!then.all) before.value = then.least_bytes;
    g = growth(before, old, row.live_bytes);
  }
  return old_variance;
}

void compare_with(const RememberedReport& then, const RecordCopy& copy, const Snapshot& s,
                  Growth SiteHistory::*to, Change* change) noexcept {
  if (then.taken_ns == 0) return;
  change->known = true;
  change->ago_ns = g_books_read_ns - then.taken_ns;
  if (then.books != books_of(s)) return;  // they have begun anew since: no growth is known
  const double old_variance = compare_rows(then.sites, then.taken_ns, copy, s.recording.exact.on, false, to);
  change->live = growth(then.live, {0, old_variance, false, 0, 0}, s.live_bytes);
}

void find_births(const RecordCopy& copy, std::uint64_t began, std::uint64_t now_ns) noexcept {
  const std::uint64_t lasted = now_ns > began ? now_ns - began : 1;
  for (const record::LiveBlock& b : copy.blocks) {
    SiteRow* const row = copy.exact && b.born_ns < began ? nullptr : copy.find(b.site);
    if (!row) continue;
    const std::uint64_t at = b.born_ns > began ? b.born_ns - began : 0;
    const auto period =
        static_cast<int>(static_cast<double>(at) / static_cast<double>(lasted) * kBirthPeriods);
    row->history.born[period < kBirthPeriods ? period : kBirthPeriods - 1].add(
        b.weight, static_cast<double>(b.asked_bytes));
  }
  for (SiteRow& row : copy.all_rows())
    for (Estimate& e : row.history.born) set_interval(e);
}

void compare_ledgers(const RememberedReport& then, const Snapshot& now, Change* change) noexcept {
  if (then.taken_ns == 0) return;
  change->known = true;
  change->rss_bytes = static_cast<std::int64_t>(now.rss.total) - static_cast<std::int64_t>(then.rss_bytes);
  const Ledger& ledger = now.ledger;
  change->causes_known = then.ledger_known && ledger.known && then.ledger_divided == ledger.divided;
  if (!change->causes_known) return;
  for (int i = 0; i < kCauseCount; ++i)
    change->causes[i] = static_cast<std::int64_t>(ledger.lines[i].bytes.value - then.causes[i]);
}

void remember_sites(std::span<const SiteRow> rows, bool all, RememberedSites* to) noexcept {
  to->count = static_cast<std::uint32_t>(std::min<std::size_t>(rows.size(), kRememberedSites));
  to->all = all && to->count == rows.size();
  to->least_bytes = to->count > 0 ? rows[to->count - 1].live_bytes.value : 0;
  for (std::uint32_t i = 0; i < to->count; ++i) {
    const SiteRow& row = rows[i];
    to->sites[i] = {row.id, static_cast<float>(row.live_count.value), row.live_bytes.value,
                    row.live_bytes.variance, row.largest_bytes};
  }
  std::sort(to->sites, to->sites + to->count,
            [](const RememberedSite& a, const RememberedSite& b) { return a.id < b.id; });
}

void remember(const Snapshot& s, RememberedReport* to) noexcept {
  to->taken_ns = g_books_read_ns;
  to->books = books_of(s);
  to->rss_bytes = s.rss.total;
  to->live = s.live_bytes;
  to->ledger_known = s.ledger.known;
  to->ledger_divided = s.ledger.divided;
  for (int i = 0; i < kCauseCount; ++i) to->causes[i] = s.ledger.lines[i].bytes.value;
  remember_sites({s.sites, s.site_count}, s.others.sites == 0, &to->sites);
}

struct Level {
  double bytes, error;
};

/// Live memory as the census counts it, blocks that were allocated past the books included; without a census
/// by the books.
Level live_level(const Snapshot& s) noexcept {
  constexpr double kCountedShare = 0.002, kCountedBytes = 64 << 10;  // the host goes on while it is counted
  const Ledger& l = s.ledger;
  if (!l.known || !l.divided) return {s.live_bytes.value, math::sqrt(s.live_bytes.variance)};
  const Estimate& live = l.lines[static_cast<int>(Cause::kLive)].bytes;
  double bytes = 0;
  for (const Cause cause : {Cause::kLive, Cause::kRounding, Cause::kPastMallard})
    bytes += l.lines[static_cast<int>(cause)].bytes.value;
  const double counted = kCountedShare * bytes + kCountedBytes;
  const bool sampled = l.by_pages || l.examined < 1;
  return {bytes, sampled ? std::max(counted, (live.high - live.low) / (2 * kNormal95)) : counted};
}

/// Bytes of blocks born in between; of large ones whenever they were born, because growing blocks move.
Estimate born_between(std::uint64_t after_ns, std::uint64_t until_ns, const void* copy) noexcept {
  constexpr std::uint64_t kLargeBytes = 256 << 10;
  Estimate sum;
  for (const record::LiveBlock& b : static_cast<const RecordCopy*>(copy)->blocks)
    if ((b.born_ns > after_ns && b.born_ns <= until_ns) || b.asked_bytes >= kLargeBytes)
      sum.add(b.weight, static_cast<double>(b.asked_bytes));
  return sum;
}

/// What call sites gained by blocks that are about as many as then, and much larger: buffers that grow.
double grown_since(std::uint8_t slot, const void* copy) noexcept {
  constexpr double kLeastCount = 0.6, kMostCount = 1.5, kLeastGrown = 1.5, kMany = 16;
  double bytes = 0;
  for (const SiteRow& row : static_cast<const RecordCopy*>(copy)->all_rows()) {
    const RememberedSite* then = g_trend.sites[slot].find(row.id);
    if (!then || then->live_count < kMany || then->live_bytes <= 0) continue;
    const double count = row.live_count.value / static_cast<double>(then->live_count);
    const double size = row.live_bytes.value / then->live_bytes / count;
    if (count >= kLeastCount && count <= kMostCount && size >= kLeastGrown)
      bytes += row.live_bytes.value - then->live_bytes;
  }
  return bytes;
}

/// True if the allocator gives free pages back by itself: they come and go.
bool decays(const Snapshot& s) noexcept {
  return s.allocator.name == "jemalloc" || s.allocator.name == "mimalloc";
}

/// Enters this report into the series, and finds growth with the work.
void follow(const RecordCopy& copy, Snapshot* s) noexcept {
  Remembered& r = g_trend;
  const bool divided = s->ledger.known && s->ledger.divided;
  if (r.live.count == 0 || r.books != books_of(*s) || r.divided != divided) {
    r.live = r.heap = {};
    r.books = books_of(*s);
    r.divided = divided;
  }
  const double allocated = s->allocated_bytes.value, blocks = s->allocated_count.value;
  const Level level = live_level(*s);
  const TrendPoint& now = add_level(&r.live, g_books_read_ns, allocated, blocks, level.bytes, level.error);
  const Survivors survivors{born_between, &copy, grown_since};
  int from = 0;
  s->history.live = find_trend(r.live, survivors, &from);
  if (s->history.live.state == Trend::State::kGrows) {
    const TrendPoint& then = r.live.points[from];
    compare_rows(r.sites[then.slot], then.taken_ns, copy, s->recording.exact.on, true,
                 &SiteHistory::in_trend);
  }
  if (divided) {
    double heap = level.bytes + s->ledger.lines[static_cast<int>(Cause::kHoles)].bytes.value;
    if (!decays(*s)) heap += s->ledger.lines[static_cast<int>(Cause::kRetained)].bytes.value;
    add_level(&r.heap, g_books_read_ns, allocated, blocks, heap, level.error);
    s->history.heap = find_trend(r.heap, {}, &from);
  }
  r.slot = now.slot;
}

}  // namespace

void compare_sites(const RecordCopy& copy, Snapshot* out) noexcept {
  g_books_read_ns = copy.read_ns;
  find_births(copy, books_of(*out).began_ns, g_books_read_ns);
  History& history = out->history;
  compare_with(g_first, copy, *out, &SiteHistory::since_first, &history.since_first);
  compare_with(g_previous, copy, *out, &SiteHistory::since_previous, &history.since_previous);
  follow(copy, out);
  if (!history.since_first.live.known) return;
  for (SiteRow& row : copy.all_rows())
    if (const RememberedSite* site = g_first.sites.find(row.id))
      row.history.largest_in_first = site->largest_bytes;
}

void compare_and_remember(Snapshot* s) noexcept {
  if (!s->recording.on) g_books_read_ns = os::monotonic_ns();
  s->history.earlier_reports = g_reports++;
  compare_ledgers(g_first, *s, &s->history.since_first);
  compare_ledgers(g_previous, *s, &s->history.since_previous);
  if (g_first.taken_ns == 0 || g_first.books != books_of(*s)) remember(*s, &g_first);
  remember(*s, &g_previous);
  if (s->recording.on)
    remember_sites({s->sites, s->site_count}, s->others.sites == 0, &g_trend.sites[g_trend.slot]);
  s->history.past = keep_point(*s, g_books_read_ns);
}

bool reports_adopt(const OtherParts& parts) noexcept {
  return parts.adopt_sparse(g_first) && parts.adopt_sparse(g_previous) && parts.adopt_sparse(g_trend) &&
         parts.adopt(g_reports) && points_adopt(parts);
}

std::uint64_t last_report_ns() noexcept { return g_previous.taken_ns; }

MALLARD_FORK_TEXT void forget_reports() noexcept {
  if (g_reports == 0) return;  // what follows lies on other pages
  g_first.taken_ns = g_previous.taken_ns = 0;
  g_trend.live.count = 0;
  g_reports = 0;
  forget_points();
}

}  // namespace mallard::report
