// SPDX-License-Identifier: Apache-2.0
#include "report/judge/verdict.hpp"

#include <algorithm>

#include "report/judge/remedies.hpp"
#include "report/judge/verdict_words.hpp"

namespace mallard::report {
namespace {

/// Indexed by VerdictCause.
constexpr void (*kRules[])(words::Findings& all) noexcept = {
#define VERDICT(enumerator, name, text, needs, weight, find) words::find,
#include "report/model/verdicts.def"
#undef VERDICT
};

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

bool is_born_evenly(const SiteRow& row) noexcept {
  if (row.live_samples < kLeastBirths) return false;
  if (row.live_bytes.value < kLeastKept * row.allocated_bytes.value) return false;
  return std::all_of(row.history.born, row.history.born + kBirthPeriods, [&row](const Estimate& born) {
    return born.value >= kLeastBornInPeriod * row.live_bytes.value;
  });
}

void words::find_nothing(Findings&) noexcept {}

Facts gather_facts(const Snapshot& s) noexcept {
  Facts f{};
  const Ledger& l = s.ledger;
  if (!l.known) return f;
  const auto line = [&l](Cause cause) { return l.lines[static_cast<int>(cause)].bytes.value; };
  f.memory =
      static_cast<double>(l.rss_bytes) - line(Cause::kOwn) - line(Cause::kFiles) - line(Cause::kLazilyFreed);
  for (int i = 0; i < kCauseCount; ++i)
    if (kCauses[i].is_heap()) f.heap += l.lines[i].bytes.value;
  for (const LedgerDetail& d : std::span(l.details, l.detail_count)) {
    const bool code = is_code(d.name, s.process);
    if (d.cause == Cause::kFiles && !code) f.data_files += static_cast<double>(d.bytes);
    if (d.cause == Cause::kFileCopies && code) f.memory -= static_cast<double>(d.bytes);
    if (d.cause == Cause::kFileCopies && !code) f.data_copies += static_cast<double>(d.bytes);
  }
  f.memory = std::max(0.0, f.memory);
  return f;
}

void judge(Arena& arena, Snapshot* s) noexcept {
  const Facts facts = gather_facts(*s);
  words::Findings all(arena, *s, facts);
  find_remedies(arena, all, s);
  if (s->ledger.known)
    for (const VerdictFacts& rule : kVerdicts)
      if (facts.memory >= kSmallProcessBytes || rule.weight == VerdictWeight::kHarmless)
        kRules[static_cast<int>(rule.cause)](all);
  s->findings = all.in_order(words::is_alive(*s));
  if (!s->findings.empty()) {
    s->verdict = s->findings.front();
  } else {
    words::Case none = all.open(VerdictCause::kNone, {});
    words::say_nothing_found(none);
    s->verdict = none.finding;
    s->verdict.text = words::kept(arena, none.text);
    s->verdict.next_step = words::kept(arena, none.next);
  }
  words::Words growth, judged;
  words::say_growth(*s, growth);
  s->growth_text = words::kept(arena, growth);
  words::say_judged(*s, judged);
  s->judged_text = words::kept(arena, judged);
  s->peak.is_judged = words::judges_peak(*s);
  words::Words peak;
  words::say_peak(*s, peak);
  s->peak_text = words::kept(arena, peak);
}

}  // namespace mallard::report
