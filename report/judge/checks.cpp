// SPDX-License-Identifier: Apache-2.0
#include "report/judge/checks.hpp"

#include <algorithm>

namespace mallard::report {
namespace {

/// Makes a check of two figures that are known. \param allowed  what this process allows beyond the table
Check compared(CheckKind kind, double ours, double theirs, double allowed) noexcept {
  const CheckFacts& facts = facts_of(kind);
  Check check;
  check.ours = ours;
  check.theirs = theirs;
  check.tolerance = facts.share * std::max(ours, theirs) + facts.slack + allowed;
  const double over = ours - theirs;
  const double off = facts.relation == CheckRelation::kEqual    ? (over < 0 ? -over : over)
                     : facts.relation == CheckRelation::kAtMost ? over
                                                                : -over;
  check.state = off > check.tolerance ? CheckState::kFailed : CheckState::kHeld;
  return check;
}

Check not_made(std::string_view why_not) noexcept {
  Check check;
  check.why_not = why_not;
  return check;
}

/// What the kernel's counters may be off by: 64 pages for each thread before Linux 6.2, the like for each
/// processor until 6.16. A walk over the page tables is exact.
double counter_slack(const Snapshot& s) noexcept {
  constexpr double kThreadBytes = 64 * 4096, kMostShare = 0.05;
  if (s.rss.walked) return 0;
  return std::min(kThreadBytes * s.process.threads, kMostShare * static_cast<double>(s.rss.total));
}

/// How far RSS went while the page tables were read.
double moved(const Snapshot& s) noexcept {
  const auto before = static_cast<double>(s.ledger.rss_before_bytes);
  const auto after = static_cast<double>(s.ledger.rss_after_bytes);
  return before < after ? after - before : before - after;
}

Check check_lines(const Snapshot& s) noexcept {
  const Ledger& l = s.ledger;
  if (!l.known) return not_made("the resident memory cannot be looked at");
  if (l.method == ResidencyMethod::kMincore)
    return not_made("files are counted as far as the page cache has them");
  double sum = 0;
  for (const LedgerLine& line : l.lines) sum += line.bytes.value;
  return compared(CheckKind::kLines, sum, static_cast<double>(l.rss_bytes), moved(s) + counter_slack(s));
}

}  // namespace

void check_figures(Snapshot* s) noexcept {
  const auto set = [s](CheckKind kind, const Check& check) { s->checks[static_cast<int>(kind)] = check; };
  set(CheckKind::kLines, check_lines(*s));
}

}  // namespace mallard::report
