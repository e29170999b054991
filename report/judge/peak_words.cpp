// SPDX-License-Identifier: Apache-2.0
// The moment when most was live, and who held it: what a process that has come down, or ends, is judged by.
#include <algorithm>

#include "report/judge/verdict_words.hpp"
#include "report/model/largest.hpp"

namespace mallard::report::words {
namespace {

constexpr double kLeastPeak = 16 << 20;
constexpr double kWellAbove = 2;       ///< times what is live now
constexpr double kLeastOfPeak = 0.05;  ///< a site that held less is not named

/// Live bytes now, of the same books.
double live_now(const Snapshot& s) noexcept { return s.live_bytes.value; }

}  // namespace

bool judges_peak(const Snapshot& s) noexcept {
  const double peak = s.peak.bytes.value;
  return s.recording.on && s.peak.known && peak >= kLeastPeak &&
         (!is_alive(s) || peak >= kWellAbove * live_now(s));
}

void say_peak(const Snapshot& s, Words& to) noexcept {
  if (!judges_peak(s)) return;
  to.say("at its peak, ").time(s.peak.ago_ns).say(is_alive(s) ? " ago, " : " before the end, ");
  to.bytes(s.peak.bytes.value).say(" were live; now it is ").bytes(live_now(s)).say(".");
  Largest<const SiteRow*, kMaxVerdictSites> sites;
  for (const SiteRow& row : std::span(s.sites, s.site_count))
    if (row.at_peak_bytes.value >= kLeastOfPeak * s.peak.bytes.value)
      sites.add(row.at_peak_bytes.value, &row);
  bool first = true;
  for (const SiteRow* row : sites.all()) {
    to.say(first ? " Of it " : "; ").bytes(row->at_peak_bytes.value).say(" were of ");
    add_site(to, *row);
    first = false;
  }
  if (!first) to.say(".");
  if (s.rss.peak > 0)
    to.say(" The most that RSS ever was is ").bytes(static_cast<double>(s.rss.peak)).say(".");
}

}  // namespace mallard::report::words
