// SPDX-License-Identifier: Apache-2.0
// The verdict and the growth, as text and as JSON.
#include "report/judge/verdict.hpp"
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

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

void write_trend(Json& json, std::string_view name, const Trend& t) noexcept {
  json.key(name).open('{').key("state").text(kTrendStates[static_cast<int>(t.state)]);
  json.key("stretches").number(static_cast<std::uint64_t>(t.stretches));
  json.key("bytes").signed_number(rounded(t.bytes)).key("error").signed_number(rounded(t.error));
  json.key("allocated_bytes").signed_number(rounded(t.allocated));
  json.key("ago_ns").number(t.ago_ns).key("idle_ns").number(t.idle_ns).close('}');
}

void write_past_json(const Past& past, Json& json) noexcept {
  json.key("past").open('[');
  for (const PastPoint& p : past.points) {
    json.line().open('{').key("ago_ns").number(past.now_ns - p.taken_ns).key("rss_bytes").number(p.rss_bytes);
    json.key("live_bytes");
    if (p.live_known) json.number(static_cast<std::uint64_t>(p.live_bytes + 0.5));
    else json.null();
    json.key("ledger").open('{');
    for (int i = 0; p.ledger_known && i < kCauseCount; ++i)
      json.key(facts_of(static_cast<Cause>(i)).name).number(static_cast<std::uint64_t>(p.causes[i] + 0.5));
    if (p.ledger_known) json.key("unexplained").signed_number(p.unexplained_bytes);
    json.close('}').close('}');
  }
  json.close(']');
}

}  // namespace

void write_verdict(const Snapshot& s, Sink& to) noexcept {
  const Verdict& v = s.verdict;
  heading(to, "Verdict");
  label(to, "cause");
  to.add(v.title).add('\n');
  label(to, "because");
  add_wrapped(to, v.text, kLabelColumns);
  if (!v.next_step.empty()) {
    label(to, "next step");
    add_wrapped(to, v.next_step, kLabelColumns);
  }
  if (!s.growth_text.empty()) {
    label(to, "growth");
    add_wrapped(to, s.growth_text, kLabelColumns);
  }
  if (s.findings.size() < 2) return;
  heading(to, "Also found");
  for (const Finding& finding : s.findings.subspan(1)) {
    label(to, facts_of(finding.cause).weight == VerdictWeight::kHarmless ? "harmless" : "cause");
    to.add(finding.title).add('\n');
    label(to, "because");
    add_wrapped(to, finding.text, kLabelColumns);
    if (finding.next_step.empty()) continue;
    label(to, "next step");
    add_wrapped(to, finding.next_step, kLabelColumns);
  }
}

namespace {

/// What a verdict and a finding have in common.
void write_finding_members(const Finding& f, Json& json) noexcept {
  json.key("cause").text(facts_of(f.cause).name).key("title").text(f.title);
  json.key("text").text(f.text);
  json.key("evidence").open('{');
  for (int i = 0; i < f.evidence_count; ++i)
    json.key(f.evidence[i].name).signed_number(rounded(f.evidence[i].value));
  json.close('}').key("sites").open('[');
  for (int i = 0; i < f.site_count; ++i) json.number(f.sites[i]);
  json.close(']').key("next_step").text(f.next_step);
}

}  // namespace

void write_verdict_json(const Snapshot& s, Json& json) noexcept {
  json.key("verdict").open('{');
  write_finding_members(s.verdict, json);
  json.close('}').line();
  json.key("findings").open('[');
  for (const Finding& f : s.findings) {
    json.line().open('{');
    write_estimate(json, "bytes", f.bytes);
    json.key("confidence").text(kConfidences[static_cast<int>(f.confidence)]);
    json.key("harmless").flag(facts_of(f.cause).weight == VerdictWeight::kHarmless);
    json.key("owner").text(f.owner);
    write_finding_members(f, json);
    json.close('}');
  }
  json.close(']').line();
}

void write_history_json(const Snapshot& s, Json& json) noexcept {
  const History& h = s.history;
  json.key("history").open('{').key("earlier_reports").number(h.earlier_reports);
  write_change(json, "since_first", h.since_first);
  write_change(json, "since_previous", h.since_previous);
  write_trend(json, "live_trend", h.live);
  write_trend(json, "heap_trend", h.heap);
  json.key("growth_text").text(s.growth_text);
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
