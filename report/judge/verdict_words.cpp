// SPDX-License-Identifier: Apache-2.0
#include "report/judge/verdict_words.hpp"

#include <string.h>

#include <algorithm>
#include <initializer_list>

#include "report/model/largest.hpp"
#include "symbols/demangle.hpp"

namespace mallard::report::words {
namespace {

constexpr double kMostlyLive = 0.5;
constexpr std::size_t kNameColumns = 60;

void add_function_or_place(Words& to, const StackFunction& f) noexcept {
  if (!f.name.empty()) return add_function(to, f.name);
  to.say(f.frame->module.empty() ? "code in no file" : file_name_of(f.frame->module));
  if (!f.frame->module.empty()) to.add('+').add_hex(f.frame->module_address);
}

/// Who called the function that names the site, as far as they have names and tell something.
int callers_of(const SiteRow& row, std::string_view (&to)[2]) noexcept {
  int n = 0;
  StackWalk walk(row, row.naming);
  for (walk.next(); !walk.is_done() && n < 2; walk.next()) {
    const StackFunction caller = walk.get();
    if (caller.name.empty()) break;
    if (!is_folded(caller, {})) to[n++] = caller.name;
  }
  return n;
}

void say_huge_pages(Case& c) noexcept {
  const Ledger& l = c.s.ledger;
  const auto huge = static_cast<double>(l.huge_bytes);
  if (!l.known || huge < kWorthSaying || huge < kMostlyLive * static_cast<double>(l.heap_bytes)) return;
  c.text.say(" ").bytes(huge).say(
      " of the heap lie on transparent huge pages: one touched byte keeps 2 MiB.");
  c.evidence("huge_bytes", huge);
  const double zeros = c.s.ledger.huge_zeros.bytes.value;
  if (zeros < kWorthSaying) return;
  c.text.say(" ").bytes(zeros).say(" on huge pages are zeros, most of them never touched.");
  c.evidence("huge_zero_bytes", zeros);
}

/// A process that is small now may have been large.
void say_once_large(Case& c) noexcept {
  const auto peak = static_cast<double>(c.s.rss.peak);
  if (judges_peak(c.s)) {
    c.text.say(" At its peak it was not: see there.");
    c.evidence("peak_live_bytes", c.s.peak.bytes.value);
    c.evidence("peak_rss_bytes", peak);
    return look_at_largest(c, &SiteRow::at_peak_bytes);
  }
  if (peak < kSmallProcessBytes || peak < 2 * static_cast<double>(c.s.rss.total)) return;
  c.text.say(" At its peak RSS was ")
      .bytes(peak)
      .say(", as the kernel noted; who held it is not known here.");
  c.evidence("peak_rss_bytes", peak);
}

void say_undivided(Case& c) noexcept {
  const Snapshot& s = c.s;
  c.text.say("Of the program's ").bytes(c.f.memory).say(", ").bytes(c.f.heap);
  c.text.say(" are the heap, which cannot be divided: ").say(view_of(s.ledger.not_divided_why)).say(".");
  const double free = free_in_undivided_heap(s);
  if (free > 0) {
    c.text.say(s.recording.exact.on ? " By the books " : " By the samples at most ").bytes(s.live_bytes.high);
    c.text.say(" are live: ").bytes(free).say(" or more are free memory, pinned or retained.");
    c.evidence("free_bytes", free);
    if (free >= kLeastCauseBytes && free >= kLeastCauseShare * c.f.memory)
      c.finding.title = "not told: much free memory, in a heap that cannot be divided";
  }
  if (can_be_purged(s)) say_next(c, "mallard dump --purge PID tells what of it is retained.");
}

void say_divided(Case& c) noexcept {
  const auto line = [&c](Cause cause) { return c.s.ledger.lines[static_cast<int>(cause)].bytes.value; };
  const double live = line(Cause::kLive);
  c.evidence("live_bytes", live);
  if (live >= kMostlyLive * c.f.memory) {
    say_part(c, "");
    c.text.say("are live data. Nothing is unusual.");
    return;
  }
  c.text.say("No cause dominates: of the program's ")
      .bytes(c.f.memory)
      .say(", ")
      .bytes(live)
      .say(" are live, ");
  c.text.bytes(line(Cause::kRounding)).say(" rounding, ").bytes(line(Cause::kHoles)).say(" holes, ");
  c.text.bytes(line(Cause::kRetained)).say(" retained, ").bytes(line(Cause::kAnonymous));
  c.text.say(" not the allocator's, ").bytes(line(Cause::kShared)).say(" shared memory.");
}

void say_largest_site(Case& c) noexcept {
  const double older = c.s.before.live_bytes;
  if (older > 0) {
    c.text.say(" ")
        .bytes(older)
        .say(" are older than ")
        .say(c.s.recording.exact.on ? "exact recording" : "recording");
    c.text.say(": no call site is known of them.");
    c.evidence("older_bytes", older);
  }
  const bool by_resident = c.s.ledger.divided && largest(c.s, &SiteRow::resident_bytes);
  const auto figure = by_resident ? &SiteRow::resident_bytes : &SiteRow::live_bytes;
  const SiteRow* row = largest(c.s, figure);
  if (!row) return;
  c.text.say(older > 0 ? " The largest site since is " : " The largest site is ");
  add_site(c.text, *row);
  c.text.say(" with ").bytes((row->*figure).value).say(by_resident ? " in memory." : " live.");
  look_at_largest(c, figure);
}

}  // namespace

double surely(const Estimate& e) noexcept { return e.has_interval ? std::min(e.low, e.value) : e.value; }

bool reaches(const Estimate& e, double share, double whole) noexcept {
  return surely(e) >= kLeastCauseBytes && surely(e) >= share * whole;
}

bool reaches_in_heap(const Estimate& e, double share, const Facts& f) noexcept {
  return reaches(e, share, f.heap) && surely(e) >= kLeastShareOfAll * f.memory;
}

Confidence how_known(const Estimate& e) noexcept {
  return e.has_interval && e.low == e.high ? Confidence::kCounted : Confidence::kEstimated;
}

void Findings::add(const Case& made) noexcept {
  Finding finding = made.finding;
  finding.text = kept(arena_, made.text);
  finding.next_step = kept(arena_, made.next);
  found_.add(finding);
}

void Findings::take(Cause cause, double bytes) noexcept {
  Estimate& line = lines_[static_cast<int>(cause)];
  for (double* figure : {&line.value, &line.low, &line.high}) *figure = std::max(0.0, *figure - bytes);
}

double Findings::found(VerdictCause cause) noexcept {
  double bytes = 0;
  for (const Finding& finding : found_.all())
    if (finding.cause == cause) bytes += finding.bytes.value;
  return bytes;
}

std::span<const Finding> Findings::in_order(bool is_alive) noexcept {
  const std::span<Finding> all = found_.all();
  for (Finding& finding : all)
    if (!is_alive && finding.cause != VerdictCause::kLeak) finding.next_step = {};
  std::sort(all.begin(), all.end(), [](const Finding& a, const Finding& b) {
    const VerdictWeight weight = facts_of(a.cause).weight, other = facts_of(b.cause).weight;
    if (weight != other) return weight < other;
    return a.bytes.value != b.bytes.value ? a.bytes.value > b.bytes.value : a.cause < b.cause;
  });
  return all;
}

std::string_view kept(Arena& arena, const TextBuffer& text) noexcept {
  if (text.size() == 0) return {};
  char* copy = arena.array<char>(text.size() + 1);
  if (!copy) return "(no memory for the text)";
  memcpy(copy, text.c_str(), text.size());
  return {copy, text.size()};
}

void add_function(Words& to, std::string_view function) noexcept {
  char room[kNameColumns * 4];
  to.say(symbols::shorten_name(function, room, sizeof room, kNameColumns));
}

void add_site(Words& to, const SiteRow& row) noexcept {
  const StackFunction named = naming_function(row);
  if (!named.frame) {
    to.say("the call site ").add_unsigned(row.id);
    return;
  }
  add_function_or_place(to, named);
  std::string_view callers[2];
  const int n = callers_of(row, callers);
  for (int i = 0; i < n; ++i) {
    to.say(i == 0 ? ", called by " : " and ");
    add_function(to, callers[i]);
  }
  to.say(" (site ").add_unsigned(row.id).add(')');
}

const SiteRow* largest(const Snapshot& s, const Estimate SiteRow::*figure) noexcept {
  const SiteRow* const end = s.sites + s.site_count;
  const SiteRow* most = std::max_element(s.sites, end, [figure](const SiteRow& a, const SiteRow& b) {
    return (a.*figure).value < (b.*figure).value;
  });
  return most != end && (most->*figure).value > 0 ? most : nullptr;
}

const SiteRow* row_of(const Snapshot& s, std::uint32_t id) noexcept {
  const SiteRow* const end = s.sites + s.site_count;
  const SiteRow* const row = std::find_if(s.sites, end, [id](const SiteRow& r) { return r.id == id; });
  return row == end ? nullptr : row;
}

void say_next(Case& c, std::string_view text, Needs needs) noexcept {
  constexpr std::string_view kPid = "PID";
  if (needs != Needs::kNothing && c.s.allocator.takes_no_preload) {
    if (needs == Needs::kRecording) return;
    text =
        " No library can be preloaded into it (it is linked statically, or with musl): a build with another "
        "allocator, such as jemalloc or mimalloc, shows whether that keeps less.";
  }
  if (text.find(kPid) != std::string_view::npos && !is_alive(c.s)) return;  // nobody can ask it any more
  if (c.next.size() == 0 && text.starts_with(' ')) text.remove_prefix(1);
  const std::size_t pid = text.find(kPid);
  c.next.say(part_of(text, 0, pid));
  if (pid != std::string_view::npos) c.next.add_signed(c.s.process.pid).add(part_of(text, pid + kPid.size()));
}

void say_try_another(Case& c) noexcept {
  FixedText<96> text;
  text.add(c.next.size() > 0 ? " Or try another allocator (" : "Try another allocator (");
  text.add(is_under_mallard(c.s) ? "ALLOC_BACKEND)." : "mallard run --backend).");
  say_next(c, text.view(), Needs::kAnotherAllocator);
}

std::string_view most_or_largest(double part, double whole) noexcept {
  return part > whole / 2 ? "Most is" : "The largest part is";
}

void look_at_largest(Case& c, const Estimate SiteRow::*figure) noexcept {
  Largest<const SiteRow*, kMaxVerdictSites> sites;
  for (const SiteRow& row : std::span(c.s.sites, c.s.site_count))
    if ((row.*figure).value > 0) sites.add((row.*figure).value, &row);
  for (const SiteRow* row : sites.all()) c.look_at(*row);
}

void say_part(Case& c, std::string_view evidence) noexcept {
  const auto& live = c.s.ledger.lines[static_cast<int>(Cause::kLive)].bytes;
  const double part = evidence.empty() ? live.value : c.finding.bytes.value;
  c.text.bytes(part)
      .say(" of the program's ")
      .bytes(c.f.memory)
      .say(" (")
      .percent(part, c.f.memory)
      .say(") ");
  if (!evidence.empty()) c.evidence(evidence, part);
  c.evidence("memory_bytes", c.f.memory);
}

void say_changed(Case& c, Cause cause) noexcept {
  const Change& change = c.s.history.since_first;
  if (!change.known || !change.causes_known) return;
  const auto changed = static_cast<double>(change.causes[static_cast<int>(cause)]);
  c.evidence("change", changed);
  if (changed > -kWorthSaying && changed < kWorthSaying) return;
  c.text.say(" That is ").bytes(changed > 0 ? changed : -changed);
  c.text.say(changed > 0 ? " more than " : " less than ")
      .time(change.ago_ns)
      .say(" ago, at the first report.");
}

bool is_alive(const Snapshot& s) noexcept { return s.reason != Reason::kExit; }

bool is_under_mallard(const Snapshot& s) noexcept {
  return s.reason != Reason::kInspection && !s.recording.is_attached;
}

bool is_heap_known(const Snapshot& s) noexcept {
  const Allocator& a = s.allocator;
  return s.ledger.divided || (is_under_mallard(s) && !a.takeover.is_observed() && !a.bypassed && !a.stepped_aside);
}

bool can_be_purged(const Snapshot& s) noexcept {
  return s.reason != Reason::kInspection && !s.answers_no_signal && !s.allocator.takeover.is_observed();
}

void say_judged(const Snapshot& s, Words& to) noexcept {
  const Allocator& a = s.allocator;
  const std::string_view serves = a.name == "system" ? "glibc" : a.name;
  if (a.replaced.empty() || a.bypassed || a.stepped_aside) return;
  to.say("the program came with ").say(a.replaced).say("; ").say(serves);
  if (a.name != "system") to.say(" ").say(a.version);
  to.say(
        " serves in its place. What lives and what grows is the program's; rounding, holes, free memory that "
        "is kept and thread caches are those of ")
      .say(serves)
      .say(" as it serves here, and may be more or less with the other.");
}

double free_in_undivided_heap(const Snapshot& s) noexcept {
  const double heap = s.ledger.lines[static_cast<int>(Cause::kUndivided)].bytes.value;
  return s.ledger.known && s.live_bytes.has_interval && heap > s.live_bytes.high ? heap - s.live_bytes.high
                                                                                 : 0;
}

void say_nothing_found(Case& c) noexcept {
  const Ledger& l = c.s.ledger;
  if (!l.known) {
    c.finding.title = "not told: the resident memory cannot be looked at";
    c.text.say("It cannot be told where the memory is: ").say(view_of(l.why_not)).say(".");
    return;
  }
  c.evidence("memory_bytes", c.f.memory);
  if (c.f.memory < kSmallProcessBytes) {
    c.text.say("The program has ").bytes(c.f.memory).say(", which is small. Nothing is unusual.");
    say_once_large(c);
    return;
  }
  if (l.lines[static_cast<int>(Cause::kUndivided)].bytes.value > 0) say_undivided(c);
  else say_divided(c);
  say_largest_site(c);
  say_huge_pages(c);
}

}  // namespace mallard::report::words
