// SPDX-License-Identifier: Apache-2.0
// The verdict in sentences, with the numbers of this report.
#include "report/judge/verdict_words.hpp"

#include <string.h>

#include <algorithm>

#include "symbols/demangle.hpp"

namespace mallard::report::words {
namespace {

constexpr double kMostlyLive = 0.5;
constexpr std::size_t kNameColumns = 60;

/// Containers and allocation functions of the languages' libraries: true of every program, and so telling
/// nothing.
bool is_of_a_library(std::string_view function) noexcept {
  constexpr std::string_view kBeginnings[] = {
      "operator new", "std::",  "void std::",  "__gnu_cxx::", "alloc::", "<alloc::", "core::",
      "<core::",      "<std::", "hashbrown::", "__rust_",     "__rdl_",  "__rg_"};
  for (std::string_view with : kBeginnings)
    if (part_of(function, 0, with.size()) == with) return true;
  return false;
}

/// The function of the program that allocates at the site and the two that called it, as far as they have
/// names.
int functions_of(const SiteRow& row, std::string_view (&to)[3]) noexcept {
  int n = 0;
  for (int i = 0; i < row.depth && n < 3; ++i) {
    const std::string_view function = row.frames[i]->function;
    if (n == 0 ? function.empty() || is_of_a_library(function) : function.empty()) {
      if (n == 0) continue;
      break;
    }
    to[n++] = function;
  }
  return n;
}

}  // namespace

void explain_leak(Judged& j) noexcept {
  const Facts& f = j.f;
  const SiteRow& row = j.s.sites[f.growing_sites.all()[0]];
  const Growth& g = row.history.since_first;
  j.evidence("growth", f.growth);
  j.evidence("memory_bytes", f.memory);
  for (const std::uint32_t i : f.growing_sites.all()) j.look_at(j.s.sites[i]);
  if (f.long_leak) {
    j.text.say("Live memory has grown steadily: ").bytes(f.growth).say(", ").percent(f.growth, f.memory);
    j.text.say(" of the process, were born evenly over the ").time(j.s.recording.since_ns);
    j.text.say(" of recording, and hardly any of it was freed. Most of it comes from ");
  } else {
    j.evidence("since_ns", static_cast<double>(j.s.history.since_first.ago_ns));
    j.text.say("Live memory grows: ").bytes(f.growth).say(" more than ").time(j.s.history.since_first.ago_ns);
    j.text.say(" ago, at the first report, ")
        .percent(f.growth, f.memory)
        .say(" of the process. Most of it comes from ");
  }
  add_site(j.text, row);
  const double mean = row.live_count.value > 0 ? row.live_bytes.value / row.live_count.value : 0;
  if (!f.long_leak) {
    j.evidence("site_growth", g.bytes);
    j.evidence("site_growth_low", g.low(1.96));
    j.evidence("site_growth_high", g.high(1.96));
    j.text.say(": ").bytes(g.bytes).say(" more");
    if (g.variance > 0) j.text.say(" (95 %: ").bytes(g.low(1.96)).say(" to ").bytes(g.high(1.96)).say(")");
  }
  j.text.say("; ")
      .bytes(row.live_bytes.value)
      .say(j.s.recording.exact.on ? " live in " : " live in about ")
      .count(row.live_count.value);
  j.text.say(row.live_count.value < 1.5 ? " block" : " blocks").say(" of ").bytes(mean).say(" on average, ");
  j.text.percent(row.live_bytes.value, row.allocated_bytes.value).say(" of what it ever allocated.");
  const std::uint64_t then = row.history.largest_in_first;
  if (mean >= kChunkBytes && row.live_count.value < 8 && then > 0 && row.largest_bytes >= 2 * then) {
    j.text.say(" Its blocks grow: the largest was ")
        .bytes(static_cast<double>(then))
        .say(" at the first report and is ");
    j.text.bytes(static_cast<double>(row.largest_bytes))
        .say(" now, as with an arena that keeps the largest chunk it ever needed.");
    j.next.say("Let the arena's owner shrink it when it is reset");
  } else if (mean >= kChunkBytes) {
    j.text.say(" They are large, as the chunks of an arena are: what lies in them is not seen here.");
    j.next.say("Find who owns the arena at this site, and when it is reset");
  } else {
    j.text.say(" They are small, and nobody frees them.");
    j.next.say(
        "Find who should free them; if their owners lie in an arena, a reset of it runs no destructors");
  }
  j.text.say(" A cache that is still filling looks the same.");
  say_next(j, ". Ask again later (mallard dump PID): a cache comes to an end, a leak does not.");
}

namespace {

void say_growth_so_far(Judged& j) noexcept {
  const Change& c = j.s.history.since_first;
  if (!j.s.recording.on) return;
  if (c.known && c.live.known) {
    const bool sure = c.live.low(kGrowthErrors) > 0;
    j.evidence("growth", c.live.bytes);
    if (sure) j.text.say(" Live memory grew by ").bytes(c.live.bytes).say(" within ").time(c.ago_ns).say(".");
    else if (j.s.recording.exact.on) j.text.say(" Live memory has not grown within ").time(c.ago_ns).say(".");
    else j.text.say(" Live memory has not grown beyond its error within ").time(c.ago_ns).say(".");
    return;
  }
  const SiteRow* row = largest(j.s, &SiteRow::live_bytes);
  if (row && is_born_evenly(*row) && row->live_bytes.value > kLeastCauseShare * j.f.memory) {
    j.text.say(" The blocks of ");
    add_site(j.text, *row);
    j.text.say(
        " were born evenly over the recording and hardly any was freed: data that is being loaded, or a "
        "leak.");
  }
  say_next(j, "One report cannot tell growth: ask again later (mallard dump PID).");
}

}  // namespace

namespace {

void say_past_mallard(Judged& j) noexcept {
  if (j.f.past <= 0) return;
  j.text.bytes(j.f.past).say(" are live blocks that were allocated past mallard: ");
  j.text.say("no call site is known of them. ");
  j.evidence("past_mallard_bytes", j.f.past);
}

}  // namespace

namespace {

/// Ends the sentence about the parts of the memory.
void say_static_data(Judged& j) noexcept {
  if (j.f.static_data > 0) j.text.say(", ").bytes(j.f.static_data).say(" static data");
  j.text.say(".");
}

}  // namespace

void explain_none(Judged& j) noexcept {
  const Ledger& l = j.s.ledger;
  j.evidence("memory_bytes", j.f.memory);
  if (!l.known) {
    j.text.say("It cannot be told where the memory is: ").say(view_of(l.why_not)).say(".");
    return;
  }
  if (j.f.memory < kSmallProcessBytes) {
    j.text.say("The process is small: ").bytes(j.f.memory);
    j.text.say(" beside code and mallard's own. Nothing is unusual.");
    return;
  }
  j.evidence("live_bytes", j.f.live);
  say_past_mallard(j);
  if (j.f.undivided > 0) {
    j.text.say("Of ")
        .bytes(j.f.memory)
        .say(", ")
        .bytes(j.f.undivided)
        .say(" are the heap, which cannot be divided: ");
    j.text.say(view_of(l.not_divided_why)).say(". ");
    if (const double free = free_in_undivided_heap(j.s); free > 0) {
      j.text.say(j.s.recording.exact.on ? "By the books " : "By the samples at most ")
          .bytes(j.s.live_bytes.high)
          .say(" are live: ")
          .bytes(free);
      j.text.say(" or more are free memory, pinned or retained. ");
      j.evidence("free_bytes", free);
    }
    j.text.say("No other cause dominates.");
    say_next(j, "mallard dump --purge PID tells what of it is retained. ");
  } else if (j.f.live + j.f.past >= kMostlyLive * j.f.memory) {
    say_part(j, j.f.live + j.f.past);
    j.text.say("are live data. Nothing is unusual.");
  } else {
    j.text.say("No cause dominates: of ").bytes(j.f.memory).say(", ").bytes(j.f.live).say(" are live, ");
    j.text.bytes(j.f.rounding)
        .say(" rounding, ")
        .bytes(j.f.holes)
        .say(" holes, ")
        .bytes(j.f.retained)
        .say(" retained, ");
    j.text.bytes(j.f.anonymous)
        .say(" not the allocator's, ")
        .bytes(j.f.files + j.f.shared + j.f.file_copies).say(" files and shared memory");
    say_static_data(j);
  }
  if (j.s.before.live_bytes > 0) {
    j.text.say(" ").bytes(j.s.before.live_bytes);
    j.text.say(" are older than exact recording: no call site is known of them.");
    j.evidence("older_bytes", j.s.before.live_bytes);
  }
  if (const SiteRow* row = largest(j.s, &SiteRow::live_bytes)) {
    j.text.say(j.s.before.live_bytes > 0 ? " The largest site since is " : " The largest site is ");
    add_site(j.text, *row);
    j.text.say(" with ").bytes(row->live_bytes.value).say(" live.");
    look_at_largest(j, &SiteRow::live_bytes);
  }
  say_growth_so_far(j);
}

namespace {

void say_huge_pages(Judged& j) noexcept {
  const Ledger& l = j.s.ledger;
  const auto huge = static_cast<double>(l.huge_bytes);
  if (!l.known || huge < kWorthSaying || huge < kMostlyLive * static_cast<double>(l.heap_bytes)) return;
  j.text.say(" ").bytes(huge).say(
      " of the heap lie on transparent huge pages: one touched byte keeps 2 MiB.");
  j.evidence("huge_bytes", huge);
}

std::string_view kept(Arena& arena, const TextBuffer& text) noexcept {
  char* copy = arena.array<char>(text.size() + 1);
  if (!copy) return "(no memory for the text)";
  memcpy(copy, text.c_str(), text.size());
  return {copy, text.size()};
}

}  // namespace

double free_in_undivided_heap(const Snapshot& s) noexcept {
  for (const BoundElsewhere& b : s.other_allocators.bound)
    if (b.to_server) return 0;  // what is not recorded may be live
  const double heap = s.ledger.lines[static_cast<int>(Cause::kUndivided)].bytes.value;
  return s.ledger.known && s.live_bytes.has_interval && heap > s.live_bytes.high ? heap - s.live_bytes.high
                                                                                 : 0;
}

void add_site(Words& to, const SiteRow& row) noexcept {
  std::string_view functions[3];
  const int n = functions_of(row, functions);
  if (n == 0) {
    to.say("the call site ").add_unsigned(row.id);
    return;
  }
  char room[kNameColumns * 4];
  to.say(symbols::shorten_name(functions[0], room, sizeof room, kNameColumns));
  for (int i = 1; i < n; ++i)
    to.say(i == 1 ? ", called by " : " and ")
        .say(symbols::shorten_name(functions[i], room, sizeof room, kNameColumns));
  to.say(" (site ").add_unsigned(row.id).add(')');
}

const SiteRow* largest(const Snapshot& s, const Estimate SiteRow::*figure) noexcept {
  const SiteRow* const end = s.sites + s.site_count;
  const SiteRow* most = std::max_element(s.sites, end, [figure](const SiteRow& a, const SiteRow& b) {
    return (a.*figure).value < (b.*figure).value;
  });
  return most != end && (most->*figure).value > 0 ? most : nullptr;
}

void say_next(Judged& j, std::string_view text) noexcept {
  constexpr std::string_view kPid = "PID";
  const std::size_t at = text.find(kPid);
  j.next.say(part_of(text, 0, at));
  if (at != std::string_view::npos) j.next.add_signed(j.s.process.pid).add(part_of(text, at + kPid.size()));
}

void look_at_largest(Judged& j, const Estimate SiteRow::*figure) noexcept {
  Largest<const SiteRow*, kMaxVerdictSites> sites;
  for (const SiteRow& row : std::span(j.s.sites, j.s.site_count))
    if ((row.*figure).value > 0) sites.add((row.*figure).value, &row);
  for (const SiteRow* row : sites.all()) j.look_at(*row);
}

void say_part(Judged& j, double part) noexcept {
  j.text.bytes(part).say(" of the ").bytes(j.f.memory).say(" (").percent(part, j.f.memory);
  j.text.say("; code and mallard's own left out) ");
}

}  // namespace mallard::report::words

namespace mallard::report {

using namespace words;

void explain(Arena& arena, const Snapshot& s, const Facts& facts, Verdict* verdict) noexcept {
  Judged j{s, facts, {}, {}, verdict};
  rules()[static_cast<std::size_t>(verdict->cause)].explain(j);
  say_huge_pages(j);
  verdict->text = kept(arena, j.text);
  verdict->next_step = kept(arena, j.next);
}

}  // namespace mallard::report
