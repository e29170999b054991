// SPDX-License-Identifier: Apache-2.0
// The verdict and the growth, as text and as JSON.
#include "report/judge/past.hpp"
#include "report/judge/verdict.hpp"
#include "report/judge/verdict_words.hpp"
#include "report/write/columns.hpp"

namespace mallard::report {
namespace {

std::int64_t rounded(double value) noexcept {
  return static_cast<std::int64_t>(value + (value < 0 ? -0.5 : 0.5));
}

/// A signed change with its 95 % interval; null where it is not known.
void write_growth(Json& json, std::string_view name, const Growth& g) noexcept {
  constexpr double kZ = 1.96;
  json.key(name);
  if (!g.known) {
    json.null();
    return;
  }
  json.open('{').key("change").signed_number(rounded(g.bytes));
  json.key("low").signed_number(rounded(g.low(kZ))).key("high").signed_number(rounded(g.high(kZ))).close('}');
}

void write_change(Json& json, std::string_view name, const Change& c) noexcept {
  json.key(name);
  if (!c.known) {
    json.null();
    return;
  }
  json.open('{').key("ago_ns").number(c.ago_ns).key("rss_change").signed_number(c.rss_bytes);
  write_growth(json, "live", c.live);
  json.key("causes");
  if (!c.causes_known) {
    json.null().close('}');
    return;
  }
  json.open('{');
  for (int i = 0; i < kCauseCount; ++i) json.key(kCauses[i].name).signed_number(c.causes[i]);
  json.close('}').close('}');
}

}  // namespace

void write_verdict(const Snapshot& s, Sink& to) noexcept {
  const Verdict& v = s.verdict;
  heading(to, "Verdict");
  label(to, "cause");
  const double free = words::free_in_undivided_heap(s);
  if (!s.ledger.known) to.add("not told: the resident memory cannot be looked at\n");
  else if (v.cause == VerdictCause::kNone && free >= kLeastCauseBytes &&
           free >= kLeastCauseShare * gather_facts(s).memory)
    to.add("not told: much free memory, in a heap that cannot be divided\n");
  else to.add(facts_of(v.cause).words).add('\n');
  label(to, "because");
  add_wrapped(to, v.text, kLabelColumns);
  if (v.next_step.empty()) return;
  label(to, "next step");
  add_wrapped(to, v.next_step, kLabelColumns);
}

void write_verdict_json(const Snapshot& s, Json& json) noexcept {
  const Verdict& v = s.verdict;
  json.key("verdict").open('{').key("cause").text(facts_of(v.cause).name).key("text").text(v.text);
  json.key("evidence").open('{');
  for (int i = 0; i < v.evidence_count; ++i)
    json.key(v.evidence[i].name).signed_number(rounded(v.evidence[i].value));
  json.close('}').key("sites").open('[');
  for (int i = 0; i < v.site_count; ++i) json.number(v.sites[i]);
  json.close(']').key("next_step").text(v.next_step).close('}').line();
}

void write_history_json(const Snapshot& s, Json& json) noexcept {
  const History& h = s.history;
  json.key("history").open('{').key("earlier_reports").number(h.earlier_reports);
  write_change(json, "since_first", h.since_first);
  write_change(json, "since_previous", h.since_previous);
  write_past_json(h.past, json);
  json.close('}').line();
}

void write_site_history_json(const SiteHistory& h, Json& json) noexcept {
  json.key("growth").open('{');
  write_growth(json, "since_first", h.since_first);
  write_growth(json, "since_previous", h.since_previous);
  json.close('}');
  write_estimate(json, "born_in_last_half_bytes", h.born_in_last_half());
}

}  // namespace mallard::report
