// SPDX-License-Identifier: Apache-2.0
#include "report/judge/verdict.hpp"

#include <algorithm>

#include "report/judge/verdict_words.hpp"

namespace mallard::report {
namespace {

double minimum(double a, double b) noexcept { return a < b ? a : b; }

/// The low end of a line's interval: what it surely is.
double surely(const LedgerLine& line) noexcept {
  return line.bytes.has_interval ? minimum(line.bytes.low, line.bytes.value) : line.bytes.value;
}

/// Since the last report the site grew at a quarter of its earlier pace at least, as far as that can be told:
/// an interval without a single sample still allows 3.7 of them.
bool goes_on(const SiteRow& row, const Snapshot& s) noexcept {
  constexpr double kNoSampleSeen = 3.7;
  const Change &first = s.history.since_first, &last = s.history.since_previous;
  const SiteHistory& h = row.history;
  if (!last.known || !h.since_previous.known || first.ago_ns == 0 || last.ago_ns >= first.ago_ns) return true;
  const double expected =
      h.since_first.bytes * static_cast<double>(last.ago_ns) / static_cast<double>(first.ago_ns);
  const double unseen =
      s.recording.exact.on ? 0 : kNoSampleSeen * static_cast<double>(s.recording.sample_bytes);
  const double most = h.since_previous.high(1.96) + unseen;
  return most >= kLeastPace * expected && h.since_previous.bytes >= 0;
}

void add_growing(const Snapshot& s, Facts* f) noexcept {
  const bool compares = s.history.since_first.live.known;
  for (std::uint32_t i = 0; i < s.site_count; ++i) {
    const SiteRow& row = s.sites[i];
    const bool by_births = !compares && grows_by_births(row, s);
    if (!by_births && !grows(row, s)) continue;
    const double grown = by_births ? row.live_bytes.value : row.history.since_first.bytes;
    f->growing += is_born_evenly(row) ? row.live_bytes.value : grown;
    f->growth += grown;
    f->long_leak = f->long_leak || by_births;
    f->growing_sites.add(grown, i);
  }
}

/// The verdict is the cause that answers for the most memory among those that reach their thresholds; else
/// none.
VerdictCause decide(const Facts& f) noexcept {
  VerdictCause cause = VerdictCause::kNone;
  double most = 0;
  if (f.memory < kSmallProcessBytes) return cause;
  for (const words::Rule& rule : words::rules()) {
    const double bytes = rule.bytes(f);
    if (bytes < kLeastCauseBytes || bytes < rule.least_share * f.memory || bytes <= most) continue;
    cause = rule.cause;
    most = bytes;
  }
  return cause;
}

}  // namespace

bool is_code(std::string_view path, const ProcessFacts& process) noexcept {
  constexpr std::string_view kDeleted = " (deleted)", kEnding = ".so";
  if (path == process.executable) return true;
  if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  const std::size_t at = path.rfind(kEnding);
  if (at == std::string_view::npos) return false;
  const std::size_t end = at + kEnding.size();  // libx.so, or libx.so.6.1
  return path.find_first_not_of(".0123456789", end) == std::string_view::npos &&
         (end == path.size() || path[end] == '.');
}

bool grows(const SiteRow& row, const Snapshot& s) noexcept {
  const Growth& g = row.history.since_first;
  if (!g.known || g.bytes <= 0 || g.low(kGrowthErrors) <= 0) return false;
  if (s.recording.exact.on && (g.bytes < kLeastExactGrowthBytes ||
                               g.bytes < kLeastExactGrowthShare * (row.live_bytes.value - g.bytes)))
    return false;
  return goes_on(row, s);
}

bool is_born_evenly(const SiteRow& row) noexcept {
  if (row.live_samples < kLeastBirths) return false;
  if (row.live_bytes.value < kLeastKept * row.allocated_bytes.value) return false;
  for (const Estimate& born : row.history.born)
    if (born.value < kLeastBornInPeriod * row.live_bytes.value) return false;
  return true;
}

bool grows_by_births(const SiteRow& row, const Snapshot& s) noexcept {
  return s.recording.since_ns >= kLongRecordingNs && is_born_evenly(row);
}

Facts gather_facts(const Snapshot& s) noexcept {
  Facts f{};
  const Ledger& l = s.ledger;
  if (!l.known) return f;
  const auto line = [&l](Cause cause) { return surely(l.lines[static_cast<int>(cause)]); };
  f.memory = static_cast<double>(l.rss_bytes) - line(Cause::kOwn);
  for (std::uint32_t i = 0; i < l.detail_count; ++i) {
    const LedgerDetail& d = l.details[i];
    const auto bytes = static_cast<double>(d.bytes);
    const bool of_code = is_code(d.name, s.process);
    if (d.cause == Cause::kFiles && of_code) f.memory -= bytes;
    else if (d.cause == Cause::kFiles) f.files += bytes;
    else if (d.cause == Cause::kFileCopies) (of_code ? f.static_data : f.file_copies) += bytes;
  }
  f.live = line(Cause::kLive);
  f.rounding = line(Cause::kRounding);
  f.past = line(Cause::kPastMallard);
  f.holes = line(Cause::kHoles);
  f.retained = line(Cause::kRetained);
  f.lazily_freed = line(Cause::kLazilyFreed);
  f.anonymous = line(Cause::kAnonymous);
  f.shared = line(Cause::kShared);
  f.stacks = line(Cause::kStacks);
  f.undivided = line(Cause::kUndivided);
  add_growing(s, &f);
  return f;
}

void judge(Arena& arena, Snapshot* s) noexcept {
  const Facts facts = gather_facts(*s);
  s->verdict = {};
  s->verdict.cause = decide(facts);
  s->verdict.title = verdict_title(*s, facts);
  explain(arena, *s, facts, &s->verdict);
}

std::string_view verdict_title(const Snapshot& s, const Facts& facts) noexcept {
  if (!s.ledger.known) return "not told: the resident memory cannot be looked at";
  const double free = words::free_in_undivided_heap(s);
  return s.verdict.cause == VerdictCause::kNone && free >= kLeastCauseBytes &&
                 free >= kLeastCauseShare * facts.memory
             ? "not told: much free memory, in a heap that cannot be divided"
             : facts_of(s.verdict.cause).words;
}

}  // namespace mallard::report
