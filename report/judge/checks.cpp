// SPDX-License-Identifier: Apache-2.0
#include "report/judge/checks.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/math.hpp"

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

constexpr std::string_view kNoPageTables = "the kernel's page tables cannot be read";
constexpr std::string_view kNotDivided = "the heap is not divided";
constexpr std::string_view kExact = "every block is booked";

std::string_view why_no_statistics(const Snapshot& s) noexcept {
  return s.reason == Reason::kDump ? "the allocator cannot be asked from outside"
                                   : "the allocator does not say";
}

double line(const Snapshot& s, Cause cause) noexcept {
  return s.ledger.lines[static_cast<int>(cause)].bytes.value;
}

double sum_of_lines(const Snapshot& s) noexcept {
  double sum = 0;
  for (const LedgerLine& l : s.ledger.lines) sum += l.bytes.value;
  return sum;
}

/// Why pages cannot be held against the kernel's counters; empty if they can.
std::string_view why_no_pages(const Snapshot& s) noexcept {
  if (!s.ledger.known) return "the resident memory cannot be looked at";
  return s.ledger.method == ResidencyMethod::kMincore ? kNoPageTables : std::string_view();
}

Check check_lines(const Snapshot& s) noexcept {
  if (const std::string_view why_not = why_no_pages(s); !why_not.empty()) return not_made(why_not);
  const double sum = sum_of_lines(s);
  const auto rss = static_cast<double>(s.ledger.rss_bytes);
  if (s.ledger.method == ResidencyMethod::kPagemap && sum > rss)
    return not_made("this kernel does not tell pages of zeros that were only read");
  return compared(CheckKind::kLines, sum, rss, moved(s) + counter_slack(s));
}

/// Holds the lines that are pages of files and of shared memory, and all others, against the kernel's
/// counters.
void check_kinds(const Snapshot& s, Check* files, Check* anonymous, Check* shared) noexcept {
  if (const std::string_view why_not = why_no_pages(s); !why_not.empty() || !s.rss.known) {
    *files = *anonymous = *shared = not_made(why_not.empty() ? "/proc is not readable" : why_not);
    return;
  }
  const double in_files = line(s, Cause::kFiles) + line(s, Cause::kShared);
  const auto file = static_cast<double>(s.rss.file), shmem = static_cast<double>(s.rss.shared_memory);
  const double allowed = moved(s) + counter_slack(s);
  *files = compared(CheckKind::kFiles, in_files, file + shmem, allowed);
  *shared = compared(CheckKind::kShared, line(s, Cause::kShared), shmem, allowed);
  const double rest = sum_of_lines(s) - in_files;
  const auto anon = static_cast<double>(s.rss.anonymous);
  *anonymous = s.ledger.method == ResidencyMethod::kPagemap && rest > anon
                   ? not_made("this kernel does not tell pages of zeros that were only read")
                   : compared(CheckKind::kAnonymous, rest, anon, allowed);
}

/// The part of the live samples that were freed while the heap was looked at.
double freed_share(const Snapshot& s) noexcept {
  const double live = s.recording.live_samples;
  return live > 0 ? std::min(1.0, static_cast<double>(s.ledger.freed_samples) / live) : 0;
}

Check check_sites(const Snapshot& s) noexcept {
  if (!s.ledger.known || !s.ledger.divided) return not_made(kNotDivided);
  if (!s.recording.on) return not_made("no call sites are recorded");
  double sum = s.others.resident_bytes + s.before.resident_bytes;
  for (std::uint32_t i = 0; i < s.site_count; ++i) sum += s.sites[i].resident_bytes.value;
  return compared(CheckKind::kSites, sum, static_cast<double>(s.ledger.pinned_bytes), sum * freed_share(s));
}

Check check_samples(const Snapshot& s) noexcept {
  if (!s.ledger.known || !s.ledger.divided) return not_made(kNotDivided);
  if (!s.recording.on) return not_made("no call sites are recorded");
  if (s.recording.exact.on) return not_made(kExact);
  const double live = s.recording.live_samples, unmet = static_cast<double>(s.ledger.uncovered_blocks);
  return compared(CheckKind::kSamples, live - unmet, live, static_cast<double>(s.ledger.freed_samples));
}

Check check_recorded(const Snapshot& s) noexcept {
  const Ledger& l = s.ledger;
  if (!l.known || !l.divided || !l.live_compared) return not_made(kNotDivided);
  if (!s.recording.on) return not_made("no call sites are recorded");
  if (s.recording.exact.on) return not_made(kExact);
  constexpr double kErrors = 5;  // one in a million
  const Estimate& recorded = l.recorded_live_bytes;
  const double error =
      kErrors * math::sqrt(recorded.variance) + static_cast<double>(s.recording.sample_bytes);
  return compared(CheckKind::kRecorded, recorded.value, l.counted_live_bytes,
                  error + recorded.value * freed_share(s));
}

/// The allocator's own figure; nullptr where it has none of these names that can be.
const backends::Statistic* statistic(const Snapshot& s,
                                     std::initializer_list<std::string_view> names) noexcept {
  for (const std::string_view name : names)
    for (int i = 0; i < s.allocator.statistic_count; ++i)
      if (name == view_of(s.allocator.statistics[i].name) && s.allocator.statistics[i].is_possible())
        return &s.allocator.statistics[i];
  return nullptr;
}

Check check_allocated(const Snapshot& s) noexcept {
  if (!s.ledger.known || !s.ledger.divided) return not_made(kNotDivided);
  const backends::Statistic* own = statistic(s, {"allocated"});
  if (!own) return not_made(why_no_statistics(s));
  const double live = line(s, Cause::kLive) + line(s, Cause::kRounding) + line(s, Cause::kPastMallard);
  return compared(CheckKind::kAllocated, live, static_cast<double>(own->bytes),
                  s.ledger.allocated_meanwhile + live * freed_share(s));
}

Check check_heap(const Snapshot& s) noexcept {
  if (!s.ledger.known) return not_made("the resident memory cannot be looked at");
  const backends::Statistic* own = statistic(s, {"resident", "committed", "mapped"});
  if (!own) return not_made(why_no_statistics(s));
  return compared(CheckKind::kHeap, static_cast<double>(s.ledger.heap_bytes), static_cast<double>(own->bytes),
                  s.ledger.allocated_meanwhile + moved(s) + static_cast<double>(s.ledger.huge_bytes));
}

}  // namespace

void check_figures(Snapshot* s) noexcept {
  const auto set = [s](CheckKind kind, const Check& check) { s->checks[static_cast<int>(kind)] = check; };
  set(CheckKind::kLines, check_lines(*s));
  const auto at = [s](CheckKind kind) { return &s->checks[static_cast<int>(kind)]; };
  check_kinds(*s, at(CheckKind::kFiles), at(CheckKind::kAnonymous), at(CheckKind::kShared));
  set(CheckKind::kSites, check_sites(*s));
  set(CheckKind::kSamples, check_samples(*s));
  set(CheckKind::kRecorded, check_recorded(*s));
  set(CheckKind::kAllocated, check_allocated(*s));
  set(CheckKind::kHeap, check_heap(*s));
}

}  // namespace mallard::report
