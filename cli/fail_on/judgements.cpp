// SPDX-License-Identifier: Apache-2.0
// Whether a report, or the change between two, meets a condition of --fail-on.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "cli/demangled.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/output.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"
#include "report/model/verdict_model.hpp"

namespace mallard::cli {
namespace {

using Kind = Condition::Kind;
using State = Judgement::State;

constexpr std::string_view kUndivided = report::facts_of(report::Cause::kUndivided).name;

constexpr const char* kNotDivided = "the report does not divide this allocator's heap";
constexpr const char* kNoSites = "no call sites were recorded (mode off)";

/// The low end of the 95 % interval. Where a site has too few samples for one, each stands for `step`.
double low_end(const report::Estimate& f, double step) {
  return f.has_interval ? f.low : f.value - 1.96 * std::sqrt(std::max(f.value, 0.0) * step);
}

const ReportFile::Line* line_of(const ReportFile& r, std::string_view cause) {
  for (const ReportFile::Line& line : r.ledger)
    if (line.cause == cause) return &line;
  return nullptr;
}

/// Whether the allocator could not be asked what is live, free and pinned.
bool is_undivided(const ReportFile& r) {
  const ReportFile::Line* line = line_of(r, kUndivided);
  return line && line->bytes.value > 0;
}

std::string amount(const Condition& c, double value) {
  return c.is_count() ? fmt::format("{:.0f}", value) : bytes_text(value);
}

std::string bound_text(const Condition& c, double absolute, const char* whole) {
  return c.is_percentage ? fmt::format("{:g} % of {} ({})", c.bound, whole, amount(c, absolute))
                         : amount(c, absolute);
}

std::string site_text(const report::SiteRow& row) {
  const std::string_view leaf = row.depth > 0 ? row.frames[0]->function : "";
  return fmt::format("site {}{}", row.id,
                     leaf.empty() ? "" : fmt::format(" ({})", shortened(demangled(leaf), 60)));
}

Judgement unknown(std::string why) { return {State::kUnknown, std::move(why)}; }

std::string_view first_sentence(std::string_view text) { return text.substr(0, text.find(". ")); }

/// Whether the condition asks for this finding.
bool asks_for(const Condition& c, std::string_view cause) {
  if (c.kind == Kind::kVerdict) return cause == c.subject;
  const report::VerdictFacts* known = report::find_verdict(cause);
  return !known || known->weight == report::VerdictWeight::kCounts;
}

/// Why nothing is told of lost blocks, or empty.
std::string why_nothing_lost(const ReportFile& r) {
  const report::LostBlocks& lost = r.data.lost;
  if (!lost.asked) return "nobody looked for lost blocks: --leaks does";
  if (!lost.done) return fmt::format("lost blocks are not told: {}", lost.why_not ? lost.why_not : "");
  if (lost.swapped_bytes > 0)
    return fmt::format("{} of the process are swapped out, and may lead to what looks lost",
                       bytes_text(static_cast<double>(lost.swapped_bytes)));
  return {};
}

Judgement judge_findings(const Condition& c, const ReportFile& r) {
  if (r.verdict.empty()) return unknown("the report has no verdict");
  for (std::size_t i = 0; i < r.findings.size(); ++i)
    if (asks_for(c, r.findings[i]))
      return {State::kMet, fmt::format("{} {}: {}", i == 0 ? "the verdict is" : "beside the verdict there is",
                                       r.findings[i], first_sentence(r.data.findings[i].text))};
  const report::VerdictFacts* asked = report::find_verdict(c.subject);
  if (asked && asked->cause == report::VerdictCause::kLostBlocks)
    if (std::string why = why_nothing_lost(r); !why.empty()) return unknown(std::move(why));
  const auto needs = [&](report::VerdictNeeds what) { return asked && asked->needs == what; };
  if ((c.kind == Kind::kAnyVerdict || needs(report::VerdictNeeds::kDividedHeap)) && is_undivided(r))
    return unknown(kNotDivided);
  if (needs(report::VerdictNeeds::kCallSites) && !r.data.recording.on) return unknown(kNoSites);
  return {};
}

Judgement judge_checks(const ReportFile& r) {
  std::string failed;
  bool is_made = false;
  for (int i = 0; i < report::kCheckCount; ++i) {
    const report::Check& check = r.data.checks[i];
    const report::CheckFacts& facts = report::kChecks[i];
    is_made |= check.state != report::CheckState::kNotMade;
    if (check.state != report::CheckState::kFailed) continue;
    const auto figure = [&](double value) {
      return facts.unit == report::CheckUnit::kBytes ? bytes_text(value) : fmt::format("{:.0f}", value);
    };
    failed += fmt::format("{}{} ({}) and {} ({})", failed.empty() ? "" : "; ", facts.ours, figure(check.ours),
                          facts.theirs, figure(check.theirs));
  }
  if (!failed.empty()) return {State::kMet, "figures of the report contradict each other: " + failed};
  if (!is_made) return unknown("the report has no check of its own figures that could be made");
  return {};
}

/// Why a line of the ledger says nothing, or empty.
std::string why_no_line(const Condition& c, const ReportFile& r) {
  if (!line_of(r, c.subject)) return fmt::format("the report has no line '{}'", c.subject);
  const report::CauseFacts* cause = report::find_cause(c.subject);
  if (cause && cause->is_heap() && c.subject != kUndivided && is_undivided(r)) return kNotDivided;
  return {};
}

/// Why a figure of call sites says nothing, or empty.
std::string why_no_sites(const Condition& c, const ReportFile& r) {
  if (!r.data.recording.on) return kNoSites;
  if (c.figure->needs_division() && is_undivided(r)) return kNotDivided;
  if ((c.figure->is_exact_only() || c.figure->may_be_untold()) && !r.is_exact())
    return fmt::format("only exact mode counts {}", c.figure->words);
  return {};
}

Judgement judge_sites(const Condition& c, const ReportFile& r, double bound, const std::string& than) {
  if (std::string why = why_no_sites(c, r); !why.empty()) return unknown(std::move(why));
  const report::FigureFacts& figure = *c.figure;
  const report::FigureFacts& sampled = sampled_by(figure);
  const report::SiteRow* worst = nullptr;
  for (const report::SiteRow& site : sites_of(r.data)) {
    const report::Estimate& f = figure.of(site);
    const double bytes = sampled.of(site).value;
    const auto sample = static_cast<double>(r.data.recording.sample_bytes);
    const double step = bytes > 0 ? sample * f.value / bytes : sample;
    if (low_end(f, step) > bound && (!worst || f.value > figure.of(*worst).value)) worst = &site;
  }
  if (!worst) return {};
  return {State::kMet, fmt::format("{} of {}: {}, more than {}", figure.words, site_text(*worst),
                                   amount(c, figure.of(*worst).value), than)};
}

Judgement judge_growth(const Condition& c, const Change& change, const std::string& what) {
  const double bound = c.is_percentage ? std::max(change.before, 0.0) * c.bound / 100 : c.bound;
  if (!change.is_beyond_error() || change.difference() - 1.96 * change.deviation <= bound) return {};
  return {State::kMet, fmt::format("{} grew by {}, from {} to {}: more than {}", what,
                                   amount(c, change.difference()), amount(c, change.before),
                                   amount(c, change.after), bound_text(c, bound, "the earlier figure"))};
}

Judgement judge_site_growth(const Condition& c, const Changes& changes) {
  Judgement worst;
  double most = 0;
  for (const SiteChange& site : changes.sites) {
    const Change& change = c.figure->of(site);
    Judgement j = judge_growth(c, change, fmt::format("{} of {}", c.figure->words, site_text(site.site())));
    if (j.state != State::kMet || change.difference() <= most) continue;
    most = change.difference();
    worst = std::move(j);
  }
  return worst;
}

double figure_of_process(Kind kind, const ReportFile& r) {
  return kind == Kind::kRss      ? r.rss_bytes()
         : kind == Kind::kCounts ? r.counts_bytes()
                                 : std::abs(r.unexplained_bytes());
}

/// One line for each finding, whatever number of conditions it meets.
void print_findings(const std::vector<Condition>& conditions, const std::vector<Judgement>& judgements) {
  std::vector<std::pair<std::string, std::string>> lines;  // finding, conditions
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    if (judgements[i].state != State::kMet) continue;
    const auto line =
        std::find_if(lines.begin(), lines.end(), [&](const auto& l) { return l.first == judgements[i].why; });
    if (line == lines.end()) lines.emplace_back(judgements[i].why, conditions[i].text);
    else line->second += "," + conditions[i].text;
  }
  for (const auto& [finding, met] : lines) tell("finding: {} (--fail-on '{}')", finding, met);
}

}  // namespace

Judgement judge(const Condition& c, const ReportFile& r) {
  if (c.kind == Kind::kAnyVerdict || c.kind == Kind::kVerdict) return judge_findings(c, r);
  if (c.kind == Kind::kInconsistent) return judge_checks(r);
  const double bound = c.is_percentage ? r.rss_bytes() * c.bound / 100 : c.bound;
  const std::string than = bound_text(c, bound, "RSS");
  if (c.kind == Kind::kSite) return judge_sites(c, r, bound, than);
  report::Estimate f;
  if (c.kind == Kind::kLine) {
    if (std::string why = why_no_line(c, r); !why.empty()) return unknown(std::move(why));
    f = line_of(r, c.subject)->bytes;
  } else if (c.kind == Kind::kLost) {
    if (std::string why = why_nothing_lost(r); !why.empty()) return unknown(std::move(why));
    f.value = static_cast<double>(r.data.lost.bytes);
  } else {
    f.value = figure_of_process(c.kind, r);
  }
  if (low_end(f, 0) <= bound) return {};
  const std::string of_rss = r.rss_bytes() > 0 && c.kind != Kind::kRss
                                 ? fmt::format(", {:.1f} % of RSS", 100 * f.value / r.rss_bytes())
                                 : "";
  return {State::kMet, fmt::format("{} is {}{}: more than {}", c.subject, bytes_text(f.value), of_rss, than)};
}

Judgement judge(const Condition& c, const ReportFile& before, const ReportFile& after,
                const Changes& changes) {
  if (!c.is_growth) return judge(c, after);
  if (c.kind == Kind::kLost) return unknown("two reports do not tell whether the same blocks are lost");
  if (c.kind == Kind::kRss || c.kind == Kind::kCounts || c.kind == Kind::kUnexplained)
    return judge_growth(c, {figure_of_process(c.kind, before), figure_of_process(c.kind, after), 0},
                        c.subject);
  for (const ReportFile* r : {&before, &after})
    if (std::string why = c.kind == Kind::kSite ? why_no_sites(c, *r) : why_no_line(c, *r); !why.empty())
      return unknown(fmt::format("{}: {}", r == &before ? "BEFORE" : "AFTER", why));
  if (c.kind == Kind::kSite) return judge_site_growth(c, changes);
  for (const LineChange& line : changes.ledger)
    if (line.cause == c.subject) return judge_growth(c, line.bytes, c.subject);
  return unknown(fmt::format("the reports have no line '{}'", c.subject));
}

ExitStatus announce(const std::vector<Condition>& conditions, const std::vector<Judgement>& judgements) {
  bool is_met = false;
  std::vector<std::string> unknowns;
  print_findings(conditions, judgements);
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    const Judgement& j = judgements[i];
    is_met |= j.state == State::kMet;
    if (j.state == State::kUnknown)
      unknowns.push_back(fmt::format("--fail-on '{}' cannot be judged: {}", conditions[i].text, j.why));
  }
  if (!is_met && !unknowns.empty())
    throw Error(kUnreadable, unknowns[0],
                "leave the condition out, or run the program so that it can be told");
  for (const std::string& unknown : unknowns) tell("warning: {}", unknown);
  return is_met ? kFinding : kDone;
}

ExitStatus fail_on(const std::vector<Condition>& conditions, const ReportFile& report) {
  std::vector<Judgement> judgements;
  for (const Condition& c : conditions) judgements.push_back(judge(c, report));
  return announce(conditions, judgements);
}

}  // namespace mallard::cli
