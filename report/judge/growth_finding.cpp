// SPDX-License-Identifier: Apache-2.0
// The finding that live memory grows: how much, where from, and of what form.
#include <algorithm>

#include "base/times.hpp"
#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {
namespace {

constexpr double kMostly = 0.5;
constexpr int kNamed = 3;

/// Growth of all call sites that one function of the program names.
struct FunctionGrowth {
  std::string_view function;  ///< empty = it has no name, and is its own row
  double bytes, variance;
  std::uint32_t sites;
  const SiteRow* most;  ///< the site that grew most
};

/// Where the growth comes from, the largest first.
struct Origins {
  std::span<FunctionGrowth> functions;
  double grown = 0;  ///< the sum of what grew; what shrank is netted within its function only

  bool is_of_one() const noexcept { return !functions.empty() && functions.front().bytes >= kMostly * grown; }
};

/// \param named_by  the member that says which function names a row
Origins origins_by(Findings& all, Naming SiteRow::*named_by) noexcept {
  Growing<FunctionGrowth> rows(all.arena());
  Origins to;
  for (const SiteRow& row : std::span(all.s.sites, all.s.site_count)) {
    const Growth& g = row.history.in_trend;
    if (!g.known || g.bytes == 0) continue;
    const std::string_view function =
        row.depth > 0 ? StackWalk(row, row.*named_by).get().name : std::string_view();
    rows.add({function, g.bytes, g.variance, 1, &row});
  }
  const std::span<FunctionGrowth> f = rows.all();
  std::sort(f.begin(), f.end(), [](const FunctionGrowth& a, const FunctionGrowth& b) {
    return a.function != b.function ? a.function < b.function : a.bytes > b.bytes;
  });
  std::size_t n = 0;
  for (const FunctionGrowth& row : f) {
    if (n == 0 || row.function.empty() || f[n - 1].function != row.function) {
      f[n++] = row;
      continue;
    }
    f[n - 1].bytes += row.bytes;
    f[n - 1].variance += row.variance;
    f[n - 1].sites += row.bytes > 0 ? 1 : 0;
  }
  to.functions = f.first(n);
  std::sort(to.functions.begin(), to.functions.end(),
            [](const FunctionGrowth& a, const FunctionGrowth& b) { return a.bytes > b.bytes; });
  for (const FunctionGrowth& function : to.functions) to.grown += std::max(0.0, function.bytes);
  return to;
}

/// By the functions that name the sites; where it is none of them by itself, a thin function that they all
/// call may be what grows: a leak behind many callers.
Origins origins_of(Findings& all) noexcept {
  const Origins by_caller = origins_by(all, &SiteRow::naming);
  if (by_caller.is_of_one()) return by_caller;
  const Origins by_name = origins_by(all, &SiteRow::naming_by_name);
  return by_name.is_of_one() ? by_name : by_caller;
}

void say_function(Case& c, const FunctionGrowth& f) noexcept {
  if (f.function.empty() || f.sites == 1) return add_site(c.text, *f.most);
  add_function(c.text, f.function);
  c.text.say(" over ").count(f.sites).say(" call sites (the largest is site ").number(f.most->id);
  c.text.say(")");
}

void say_interval(Case& c, double bytes, double variance) noexcept {
  c.evidence("site_growth", bytes);
  if (variance <= 0) return;
  const double error = 1.96 * math::sqrt(variance);
  c.evidence("site_growth_low", bytes - error);
  c.evidence("site_growth_high", bytes + error);
  c.text.say(" (95 %: ").bytes(bytes - error).say(" to ").bytes(bytes + error).say(")");
}

/// What the blocks of the leading site look like, and whom to look for.
void say_form(Case& c, const SiteRow& row) noexcept {
  const double mean = row.live_count.value > 0 ? row.live_bytes.value / row.live_count.value : 0;
  const std::uint64_t then = row.history.largest_in_first;
  c.text.say(" Site ").number(row.id).say(" has ").bytes(row.live_bytes.value).say(" live in ");
  c.text.say(c.s.recording.exact.on ? "" : "about ").count(row.live_count.value);
  c.text.say(row.live_count.value < 1.5 ? " block, " : " blocks, ").bytes(mean).say(" on average; ");
  c.text.percent(row.live_bytes.value, row.allocated_bytes.value).say(" of what it ever allocated.");
  if (mean >= kChunkBytes && row.live_count.value < 8 && then > 0 && row.largest_bytes >= 2 * then) {
    c.text.say(" Its blocks grow: the largest was ").bytes(static_cast<double>(then));
    c.text.say(" at the first report and is ").bytes(static_cast<double>(row.largest_bytes)).say(" now.");
    c.next.say(
        "Look at what grows there: a vector or a table, or an arena that keeps the largest chunk it ever "
        "needed");
  } else if (mean >= kChunkBytes) {
    c.text.say(" What lies in such large blocks is not seen here.");
    c.next.say("Find who owns these blocks, and what should empty or free them: an arena, a table, a buffer");
  } else {
    c.next.say(
        "Find who should free them; if their owners lie in an arena, a reset of it runs no destructors");
  }
}

void say_origins(Case& c, const Origins& from) noexcept {
  if (from.functions.empty() || from.grown <= 0) {
    c.text.say(" Which call sites it comes from is not known.");
    if (is_alive(c.s)) c.next.say("Ask again later");
    else
      say_next(c, "Run the program with a lower ALLOC_SAMPLE_BYTES, or with ALLOC_MODE=exact",
               Needs::kRecording);
    return;
  }
  const FunctionGrowth& most = from.functions.front();
  if (from.is_of_one()) {
    c.text.say(" Most of it (").percent(most.bytes, from.grown).say(") comes from ");
    say_function(c, most);
    c.text.say(": ").bytes(most.bytes).say(" more");
    say_interval(c, most.bytes, most.variance);
    c.text.say(".");
  } else {
    c.text.say(" It comes from several functions: ");
    int n = 0;
    for (const FunctionGrowth& f : from.functions) {
      if (n == kNamed || f.bytes <= 0) break;
      c.text.say(n++ > 0 ? ", " : "");
      say_function(c, f);
      c.text.say(" (").percent(f.bytes, from.grown).say(")");
    }
    c.text.say(".");
  }
  for (const FunctionGrowth& f : from.functions)
    if (f.bytes >= 0.1 * from.grown) c.look_at(*f.most);
  say_form(c, *most.most);
}

Estimate grown_bytes(const Trend& t, double most) noexcept {
  const double error = 1.96 * t.error;
  const double value = std::min(t.bytes, most);
  return {value, t.error * t.error, true, std::max(0.0, value - error), std::min(value + error, most)};
}

void find_in_series(Findings& all) noexcept {
  const Trend& t = all.s.history.live;
  const double live =
      all.s.ledger.divided ? all.line(Cause::kLive).value + all.line(Cause::kRounding).value : all.f.heap;
  if (t.bytes < kLeastGrowthFinding || t.bytes < kLeastGrowthShareOfAll * all.f.memory) return;
  Case c = all.open(VerdictCause::kLeak, grown_bytes(t, live), Confidence::kInferred);
  c.text.say("Live memory grows with the work that the process does: ").bytes(c.finding.bytes.value);
  c.text.say(" were not given back within ").time(t.ago_ns).say(", ");
  add_decimal(c.text, t.allocated > 0 ? 100 * t.bytes / t.allocated : 0, 1);
  c.text.say(" % of what was allocated meanwhile, evenly over at least three stretches of work.");
  c.evidence("growth", t.bytes);
  c.evidence("allocated_bytes", t.allocated);
  c.evidence("memory_bytes", all.f.memory);
  c.evidence("since_ns", static_cast<double>(t.ago_ns));
  say_origins(c, origins_of(all));
  if (t.idle_ns >= kNsPerSecond)
    c.text.say(" Next to nothing has been allocated for ")
        .time(t.idle_ns)
        .say(": nothing was learned since.");
  c.text.say(" A cache that fills, or data that is being loaded, looks the same until it ends.");
  say_next(c, is_alive(all.s) ? ". Ask again later (mallard dump PID): a leak does not end." : ".");
  all.add(c);
}

/// One report is all there is: births over a long time stand for a series.
void find_in_births(Findings& all) noexcept {
  if (all.s.recording.since_ns < kLongRecordingNs) return;
  const SiteRow* most = nullptr;
  Estimate born{0, 0, true, 0, 0};
  Case c = all.open(VerdictCause::kLeak, born, Confidence::kInferred);
  for (const SiteRow& row : std::span(all.s.sites, all.s.site_count)) {
    if (!is_born_evenly(row)) continue;
    if (!most) most = &row;  // they are in order of live bytes
    born.value += row.live_bytes.value;
    c.look_at(row);
  }
  born.low = born.high = born.value;
  if (!most || !reaches(born, kLeastShareOfAll, all.f.memory)) return;
  c.finding.bytes = born;
  c.text.say("Live memory has grown steadily: ").bytes(born.value).say(" were born evenly over the ");
  c.text.time(all.s.recording.since_ns)
      .say(" of recording, and hardly any of it was freed. The largest part comes from ");
  add_site(c.text, *most);
  c.text.say(".");
  c.evidence("growth", born.value);
  c.evidence("memory_bytes", all.f.memory);
  say_form(c, *most);
  say_next(c, is_alive(all.s) ? ". Ask again later (mallard dump PID): a leak does not end." : ".");
  all.add(c);
}

}  // namespace

void find_growth(Findings& all) noexcept {
  const History& h = all.s.history;
  if (h.live.state == Trend::State::kGrows) find_in_series(all);
  else if (h.live.state == Trend::State::kTooFew && h.live.stretches == 0) find_in_births(all);
}

void say_growth(const Snapshot& s, Words& to) noexcept {
  const Trend& t = s.history.live;
  switch (t.state) {
    case Trend::State::kUnknown:
      return;
    case Trend::State::kTooFew:
      to.say(t.stretches == 0 ? "one report cannot tell growth"
                              : "the work between the reports is too little to tell growth");
      if (is_alive(s)) to.say(": ask again after more work (mallard dump ").number(s.process.pid).say(")");
      to.say(".");
      return;
    case Trend::State::kFlat:
      to.say("live memory does not grow beyond its ups and downs, in ").count(t.stretches);
      to.say(" stretches of work within ").time(t.ago_ns).say(".");
      return;
    case Trend::State::kGrew:
      to.say("live memory grew by ").bytes(t.bytes).say(" within ").time(t.ago_ns);
      to.say("; whether it goes on cannot be told yet");
      if (is_alive(s)) to.say(": ask again after as much work (").bytes(t.allocated).say(" of allocations)");
      to.say(".");
      return;
    case Trend::State::kGrows:
      to.say("live memory grows: ").bytes(t.bytes).say(" within ").time(t.ago_ns).say(", for ");
      to.bytes(t.allocated).say(" of allocations.");
  }
}

}  // namespace mallard::report::words
