// SPDX-License-Identifier: Apache-2.0
#include "report/judge/remember.hpp"

#include <algorithm>

#include "base/os.hpp"
#include "report/judge/past.hpp"

namespace mallard::report {
namespace {

/// Sites of a report that are remembered, those with the most live bytes: 256 KiB a report where all are
/// used.
constexpr std::uint32_t kRememberedSites = 8192;

struct RememberedSite {
  std::uint32_t id;
  double live_bytes, live_variance;
  std::uint64_t largest_bytes;
};

std::uint64_t books_began_ns(const Snapshot& s) noexcept {
  return s.recording.exact.on ? record::exact_since_ns() : record::started_ns();
}

struct RememberedReport {
  std::uint64_t taken_ns;  ///< CLOCK_MONOTONIC; 0 = none
  std::uint64_t began_ns;  ///< when the recording that it showed began: others cannot be compared with it
  bool exact;
  std::uint64_t rss_bytes;
  Estimate live;
  bool ledger_known, ledger_divided;
  double causes[kCauseCount];
  bool all_sites;
  std::uint32_t site_count;
  RememberedSite sites[kRememberedSites];  ///< by id

  bool has_same_books(const Snapshot& s) const noexcept {
    return exact == s.recording.exact.on && began_ns == books_began_ns(s);
  }
  const RememberedSite* find(std::uint32_t id) const noexcept {
    const RememberedSite* end = sites + site_count;
    const RememberedSite* at = std::lower_bound(
        sites, end, id, [](const RememberedSite& s, std::uint32_t wanted) { return s.id < wanted; });
    return at != end && at->id == id ? at : nullptr;
  }
};
static_assert(kCauseCount <= static_cast<int>(sizeof Change{}.causes / sizeof Change{}.causes[0]));

MALLARD_LARGE_DATA constinit RememberedReport g_first{}, g_previous{};
MALLARD_FORK_DATA constinit std::uint32_t g_reports = 0;
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

/// Fills one of the two growths of each row; row.live_bytes holds the sums of now.
void compare_with(const RememberedReport& then, const RecordCopy& copy, const Snapshot& s,
                  Growth SiteHistory::*to, Change* change) noexcept {
  if (then.taken_ns == 0) return;
  change->known = true;
  change->ago_ns = g_books_read_ns - then.taken_ns;
  if (!then.has_same_books(s)) return;  // they have begun anew since: no growth is known
  // The variance of the blocks that were live then already, for want of other room in the growth itself.
  double old_variance = 0;
  for (const record::LiveBlock& b : then.exact ? std::span<const record::LiveBlock>() : copy.blocks) {
    SiteRow* const row = b.born_ns > then.taken_ns ? nullptr : copy.find(b.site);
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
    if (!site && !then.all_sites) continue;
    Estimate before;
    if (site) before = {site->live_bytes, site->live_variance, false, 0, 0};
    g = growth(before, old, row.live_bytes);
  }
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

void remember(const Snapshot& s, RememberedReport* to) noexcept {
  to->taken_ns = g_books_read_ns;
  to->began_ns = books_began_ns(s);
  to->exact = s.recording.exact.on;
  to->rss_bytes = s.rss.total;
  to->live = s.live_bytes;
  to->ledger_known = s.ledger.known;
  to->ledger_divided = s.ledger.divided;
  for (int i = 0; i < kCauseCount; ++i) to->causes[i] = s.ledger.lines[i].bytes.value;
  to->all_sites = s.site_count <= kRememberedSites && s.others.sites == 0;
  to->site_count = std::min(s.site_count, kRememberedSites);
  for (std::uint32_t i = 0; i < to->site_count; ++i) {
    const SiteRow& row = s.sites[i];
    to->sites[i] = {row.id, row.live_bytes.value, row.live_bytes.variance, row.largest_bytes};
  }
  std::sort(to->sites, to->sites + to->site_count,
            [](const RememberedSite& a, const RememberedSite& b) { return a.id < b.id; });
}

}  // namespace

void compare_sites(const RecordCopy& copy, Snapshot* out) noexcept {
  g_books_read_ns = copy.read_ns;
  find_births(copy, books_began_ns(*out), g_books_read_ns);
  History& history = out->history;
  compare_with(g_first, copy, *out, &SiteHistory::since_first, &history.since_first);
  compare_with(g_previous, copy, *out, &SiteHistory::since_previous, &history.since_previous);
  if (!history.since_first.live.known) return;
  for (SiteRow& row : copy.all_rows())
    if (const RememberedSite* site = g_first.find(row.id)) row.history.largest_in_first = site->largest_bytes;
}

void compare_and_remember(Snapshot* s) noexcept {
  if (!s->recording.on) g_books_read_ns = os::monotonic_ns();
  s->history.earlier_reports = g_reports++;
  compare_ledgers(g_first, *s, &s->history.since_first);
  compare_ledgers(g_previous, *s, &s->history.since_previous);
  if (g_first.taken_ns == 0 || !g_first.has_same_books(*s)) remember(*s, &g_first);
  remember(*s, &g_previous);
  s->history.past = keep_point(*s, g_books_read_ns);
}

MALLARD_FORK_TEXT void forget_reports() noexcept {
  if (g_reports == 0) return;  // what follows lies on other pages
  g_first.taken_ns = g_previous.taken_ns = 0;
  g_reports = 0;
  forget_points();
}

}  // namespace mallard::report
