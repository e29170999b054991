// SPDX-License-Identifier: Apache-2.0
// The verdict and the growth, as text and as JSON.
#include <algorithm>
#include <initializer_list>

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

namespace {

constexpr std::size_t kVerdictColumns = 14;

void verdict_label(Sink& to, std::string_view name) noexcept {
  to.add("  ").add(name).add_spaces(kVerdictColumns - 2 - name.size());
}

bool is_harmless(const Finding& f) noexcept { return facts_of(f.cause).weight == VerdictWeight::kHarmless; }

/// "leak: live memory that grows, 55.0 MiB (inferred)"
void write_title(const Finding& f, Sink& to) noexcept {
  add_printable(to, f.title);
  if (f.bytes.value > 0)
    add_parts(to, ", ", as_bytes(f.bytes.value), " (", kConfidences[static_cast<int>(f.confidence)], ")");
  to.add('\n');
}

/// As many whole sentences as fit into so many lines.
std::string_view sentences(std::string_view text, std::size_t lines) noexcept {
  if (lines_of(text, kVerdictColumns) <= lines) return text;
  std::size_t kept = 0;
  for (std::size_t at = 0; (at = text.find(". ", at)) != std::string_view::npos; ++at) {
    if (lines_of(part_of(text, 0, at + 1), kVerdictColumns) > lines) break;
    kept = at + 1;
  }
  return part_of(text, 0, kept);
}

/// Lines of a finding beside its title.
std::size_t lines_below_title(const Finding& f) noexcept {
  return lines_of(f.text, kVerdictColumns) +
         (f.next_step.empty() ? 0 : lines_of(f.next_step, kVerdictColumns));
}

void write_below_title(const Finding& f, Sink& to) noexcept {
  verdict_label(to, "because");
  add_wrapped(to, f.text, kVerdictColumns);
  if (f.next_step.empty()) return;
  verdict_label(to, "next step");
  add_wrapped(to, f.next_step, kVerdictColumns);
}

/// The verdict, in `lines` lines. \return whether all of it was said
bool write_first(const Snapshot& s, std::size_t lines, Sink& to) noexcept {
  const Verdict& v = s.verdict;
  verdict_label(to, "cause");
  write_title(v, to);
  const std::size_t next = v.next_step.empty() ? 0 : lines_of(v.next_step, kVerdictColumns);
  const std::string_view text = sentences(v.text, lines > next ? lines - next : 1);
  if (!text.empty()) {
    verdict_label(to, "because");
    add_wrapped(to, text, kVerdictColumns);
  }
  const std::size_t used = text.empty() ? 0 : lines_of(text, kVerdictColumns);
  const std::string_view next_step = sentences(v.next_step, lines > used ? lines - used : 0);
  if (!next_step.empty()) {
    verdict_label(to, "next step");
    add_wrapped(to, next_step, kVerdictColumns);
  }
  if (!s.growth_text.empty()) {
    verdict_label(to, "growth");
    add_wrapped(to, s.growth_text, kVerdictColumns);
  }
  if (!s.judged_text.empty()) {
    verdict_label(to, "judged");
    add_wrapped(to, s.judged_text, kVerdictColumns);
  }
  if (!s.peak_text.empty()) {
    verdict_label(to, "peak");
    add_wrapped(to, s.peak_text, kVerdictColumns);
  }
  return text.size() == v.text.size() && next_step.size() == v.next_step.size();
}

/// Findings beyond these are told by the JSON report alone.
constexpr std::size_t kMostTitles = 10;

}  // namespace

bool write_verdict(const Snapshot& s, Sink& to) noexcept {
  const std::size_t others = s.findings.empty() ? 0 : s.findings.size() - 1;
  const std::size_t titles = std::min(others, kMostTitles);
  // Headings and the blank lines before them, titles, growth; the rest is for sentences.
  std::size_t taken = 3 + (titles > 0 ? 2 + titles : 0) + (others > titles);
  for (const std::string_view text : {s.growth_text, s.judged_text, s.peak_text})
    if (!text.empty()) taken += lines_of(text, kVerdictColumns);
  const std::size_t room = kConclusionLines > taken ? kConclusionLines - taken : 1;
  const std::size_t first_line = to.lines();
  heading(to, "Verdict");
  bool all = write_first(s, room, to);
  if (titles == 0) return all;
  heading(to, "Also found");
  std::size_t left = titles;
  for (const Finding& finding : s.findings.subspan(1, titles)) {
    verdict_label(to, is_harmless(finding) ? "harmless" : "cause");
    write_title(finding, to);
    --left;
    const std::size_t used = to.lines() - first_line + left + (others > titles);
    if (used + lines_below_title(finding) <= kConclusionLines) write_below_title(finding, to);
    else all = false;
  }
  if (others > titles) add_parts(to, "  ", as_grouped(others - titles), " more in the JSON report\n");
  return all;
}

void write_findings_in_full(const Snapshot& s, Sink& to) noexcept {
  heading(to, "Findings in full");
  for (const Finding& finding : s.findings.empty() ? std::span<const Finding>(&s.verdict, 1) : s.findings) {
    verdict_label(to, is_harmless(finding) ? "harmless" : "cause");
    write_title(finding, to);
    write_below_title(finding, to);
  }
}

void write_in_short(const Snapshot& s, Sink& to) noexcept {
  heading(to, "In short");
  verdict_label(to, "cause");
  write_title(s.verdict, to);
  const std::string_view next_step = sentences(s.verdict.next_step, 2);
  if (!next_step.empty()) {
    verdict_label(to, "next step");
    add_wrapped(to, next_step, kVerdictColumns);
  }
  if (s.findings.size() > 1)
    add_parts(to, "  Also found: ", as_grouped(s.findings.size() - 1), "; the top of the report has them.\n");
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
  json.key("growth_text").text(s.growth_text).key("judged_text").text(s.judged_text);
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
