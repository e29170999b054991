// SPDX-License-Identifier: Apache-2.0
#include "cli/conditions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.hpp"
#include "cli/demangled.hpp"
#include "cli/ledger_words.hpp"
#include "cli/units.hpp"

namespace mallard::cli {

const char* const kConditionsHelp =
    "CONDITIONS have commas between them; status 1 says that one is met, standard error says which. One is\n"
    "  any, or a verdict (leak, external_fragmentation, retention, lazily_freed, second_allocator, "
    "mapped_files, stacks)\n"
    "  FIGURE>SIZE, such as rss>2G; of rss, unexplained, or a cause of the ledger (live, holes, retained, "
    "files, ...)\n"
    "  FIGURE>SHARE% of RSS, such as unexplained>5%\n"
    "  site.resident>SIZE, site.holes, site.live, site.allocated, or site.count>NUMBER, of any one call "
    "site\n"
    "Estimates count with the low end of their 95 % interval.\n";

namespace {

using Kind = Condition::Kind;
using State = Judgement::State;

constexpr std::string_view kVerdicts[] = {"leak",         "external_fragmentation", "retention",
                                          "lazily_freed", "second_allocator",       "mapped_files",
                                          "stacks"};

struct SiteFigure {
  std::string_view name;
  const char* words;
  Figure ReportSite::*figure;
  Change SiteChange::*change;
};
constexpr SiteFigure kSiteFigures[] = {
    {"resident", "resident memory", &ReportSite::resident_bytes, &SiteChange::resident_bytes},
    {"holes", "pinned holes", &ReportSite::hole_bytes, &SiteChange::hole_bytes},
    {"live", "live memory", &ReportSite::live_bytes, &SiteChange::live_bytes},
    {"allocated", "allocated memory", &ReportSite::allocated_bytes, &SiteChange::allocated_bytes},
    {"count", "live blocks", &ReportSite::live_count, &SiteChange::live_count}};

const SiteFigure& site_figure(std::string_view name) {
  return *std::find_if(std::begin(kSiteFigures), std::end(kSiteFigures),
                       [&](const SiteFigure& f) { return f.name == name; });
}

[[noreturn]] void refuse(const std::string& condition, const std::string& why, const char* hint) {
  throw Error(kUsage, fmt::format("--fail-on '{}': {}", condition, why), hint);
}

/// What stands before '>'.
void set_subject(std::string_view name, Condition* c) {
  c->subject = name;
  if (name == "rss") c->kind = Kind::kRss;
  else if (name == "unexplained") c->kind = Kind::kUnexplained;
  else if (is_cause(name)) c->kind = Kind::kLine;
  else if (name.starts_with("site.")) {
    c->kind = Kind::kSite;
    c->subject = name.substr(5);
    for (const SiteFigure& f : kSiteFigures)
      if (f.name == c->subject) return;
    refuse(c->text, fmt::format("call sites have no figure '{}'", c->subject),
           "site.resident, site.holes, site.live, site.allocated or site.count");
  } else {
    refuse(c->text, fmt::format("there is no figure '{}'", name),
           "rss, unexplained, a cause of the ledger (live, holes, retained, ...), or site.live and the like");
  }
}

/// A number without sign, exponent or blanks, up to 15 digits.
bool parse_number(std::string_view text, double* out) {
  const auto is_part = [](char c) { return (c >= '0' && c <= '9') || c == '.'; };
  if (text.empty() || text.size() > 15 || text[0] == '.' || !std::all_of(text.begin(), text.end(), is_part))
    return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

/// What stands behind '>'.
void set_bound(std::string_view bound, bool of_two, Condition* c) {
  if (bound.starts_with('+')) {
    c->is_growth = true;
    bound.remove_prefix(1);
    if (!of_two) refuse(c->text, "one report shows no growth", "mallard diff compares two reports");
  }
  const bool is_count = c->kind == Kind::kSite && c->subject == "count";
  if (bound.ends_with('%')) {
    bound.remove_suffix(1);
    c->is_percentage = true;
    if (!c->is_growth && (is_count || c->kind == Kind::kRss))
      refuse(c->text, fmt::format("'{}' is no share of RSS", c->kind == Kind::kRss ? "rss" : "site.count"),
             is_count ? "give a number of blocks" : "give a size: 500M, 2G");
    if (!parse_number(bound, &c->bound))
      refuse(c->text, fmt::format("'{}%' is no percentage", bound), "for example 5% or 0.5%");
    return;
  }
  std::uint64_t value = 0;
  if (is_count ? !parse_number(bound, &c->bound) : !parse_bytes(bound, &value))
    refuse(
        c->text, fmt::format("'{}' is no {}", bound, is_count ? "number" : "size"),
        is_count ? "a number of blocks: 10000" : "a number of bytes, or with K, M, G: 500K, 10M, 2G; or 5%");
  if (!is_count) c->bound = static_cast<double>(value);
}

Condition parse_one(std::string_view text, bool of_two) {
  Condition c{std::string(text), Kind::kVerdict, std::string(text)};
  if (const std::size_t at = text.find('>'); at != text.npos) {
    set_subject(text.substr(0, at), &c);
    set_bound(text.substr(at + 1), of_two, &c);
    return c;
  }
  if (text == "any") c.kind = Kind::kAnyVerdict;
  else if (std::find(std::begin(kVerdicts), std::end(kVerdicts), text) == std::end(kVerdicts))
    refuse(c.text, "is neither a verdict nor of the form FIGURE>BOUND",
           "any, leak, retention, ...; or holes>100M, unexplained>5%, site.live>10M");
  return c;
}

/// The low end of the 95 % interval. Where a site has too few samples for one, each stands for `step`.
double low_end(const Figure& f, double step) {
  return f.low ? *f.low : f.value - 1.96 * std::sqrt(std::max(f.value, 0.0) * step);
}

const ReportFile::Line* line_of(const ReportFile& r, std::string_view cause) {
  for (const ReportFile::Line& line : r.ledger)
    if (line.cause == cause) return &line;
  return nullptr;
}

/// Whether the allocator could not be asked what is live, free and pinned.
bool is_undivided(const ReportFile& r) {
  const ReportFile::Line* line = line_of(r, "undivided");
  return line && line->bytes.value > 0;
}

std::string amount(const Condition& c, double value) {
  return c.kind == Kind::kSite && c.subject == "count" ? fmt::format("{:.0f}", value) : bytes_text(value);
}

std::string bound_text(const Condition& c, double absolute, const char* whole) {
  return c.is_percentage ? fmt::format("{:g} % of {} ({})", c.bound, whole, amount(c, absolute))
                         : amount(c, absolute);
}

std::string site_text(const ReportSite& site) {
  const bool is_named = !site.stack.empty() && !site.stack[0].function.empty();
  return fmt::format("site {}{}", site.id,
                     is_named ? fmt::format(" ({})", shortened(demangled(site.stack[0].function), 60)) : "");
}

Judgement unknown(std::string why) { return {State::kUnknown, std::move(why)}; }

std::string first_sentence(const std::string& text) { return text.substr(0, text.find(". ")); }

Judgement judge_verdict(const Condition& c, const ReportFile& r) {
  const std::string& found = r.verdict.cause;
  if (found.empty()) return unknown("the report has no verdict");
  if (c.kind == Kind::kAnyVerdict ? found != "none" : found == c.subject)
    return {State::kMet, fmt::format("the verdict is {}: {}", found, first_sentence(r.verdict.text))};
  const bool needs_division =
      c.subject == "external_fragmentation" || c.subject == "retention" || c.kind == Kind::kAnyVerdict;
  if (needs_division && is_undivided(r)) return unknown("the report does not divide this allocator's heap");
  if (c.subject == "leak" && r.mode == "off") return unknown("no call sites were recorded (mode off)");
  return {};
}

/// Of lines of the ledger: why a figure says nothing, or empty.
std::string why_no_line(const Condition& c, const ReportFile& r) {
  if (!line_of(r, c.subject)) return fmt::format("the report has no line '{}'", c.subject);
  for (const char* part : {"live", "rounding", "holes", "retained", "metadata"})
    if (c.subject == part && is_undivided(r)) return "the report does not divide this allocator's heap";
  return {};
}

/// Likewise of call sites.
std::string why_no_sites(const Condition& c, const ReportFile& r) {
  if (r.mode == "off") return "no call sites were recorded (mode off)";
  if ((c.subject == "resident" || c.subject == "holes") && is_undivided(r))
    return "the report does not divide this allocator's heap";
  return {};
}

Judgement judge_sites(const Condition& c, const ReportFile& r, double bound, const std::string& than) {
  if (std::string why = why_no_sites(c, r); !why.empty()) return unknown(std::move(why));
  const SiteFigure& which = site_figure(c.subject);
  const ReportSite* worst = nullptr;
  for (const ReportSite& site : r.sites) {
    const Figure& f = site.*which.figure;
    const Figure& bytes = c.subject == "allocated" ? site.allocated_bytes : site.live_bytes;
    const double step = bytes.value > 0 ? r.sample_bytes * f.value / bytes.value : r.sample_bytes;
    if (low_end(f, step) > bound && (!worst || f.value > (worst->*which.figure).value)) worst = &site;
  }
  if (!worst) return {};
  return {State::kMet, fmt::format("{} has {} {}{}: more than {}", site_text(*worst),
                                   amount(c, (worst->*which.figure).value), c.subject == "count" ? "" : "of ",
                                   which.words, than)};
}

Judgement judge_growth(const Condition& c, const Change& change, const std::string& what) {
  const double bound = c.is_percentage ? std::max(change.before, 0.0) * c.bound / 100 : c.bound;
  if (!change.is_beyond_error() || change.difference() - 1.96 * change.deviation <= bound) return {};
  return {State::kMet, fmt::format("{} grew by {}, from {} to {}: more than {}", what,
                                   amount(c, change.difference()), amount(c, change.before),
                                   amount(c, change.after), bound_text(c, bound, "the earlier figure"))};
}

Judgement judge_site_growth(const Condition& c, const Changes& changes) {
  const SiteFigure& which = site_figure(c.subject);
  Judgement worst;
  double most = 0;
  for (const SiteChange& site : changes.sites) {
    const Change& change = site.*which.change;
    Judgement j = judge_growth(c, change, fmt::format("{} of {}", which.words, site_text(site.site())));
    if (j.state != State::kMet || change.difference() <= most) continue;
    most = change.difference();
    worst = std::move(j);
  }
  return worst;
}

}  // namespace

std::vector<Condition> parse_conditions(const std::string& text, bool of_two) {
  std::vector<Condition> out;
  for (std::size_t at = 0; !text.empty() && at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    if (end == at) refuse(text, "there is an empty condition", "conditions have one comma between them");
    out.push_back(parse_one(std::string_view(text).substr(at, end - at), of_two));
    at = end + 1;
  }
  return out;
}

std::string is_given(const std::string& conditions) {
  return conditions.empty() ? "no condition is given, such as leak or holes>100M" : std::string();
}

Judgement judge(const Condition& c, const ReportFile& r) {
  if (c.kind == Kind::kAnyVerdict || c.kind == Kind::kVerdict) return judge_verdict(c, r);
  const double bound = c.is_percentage ? r.rss_bytes * c.bound / 100 : c.bound;
  const std::string than = bound_text(c, bound, "RSS");
  if (c.kind == Kind::kSite) return judge_sites(c, r, bound, than);
  Figure f;
  if (c.kind == Kind::kLine) {
    if (std::string why = why_no_line(c, r); !why.empty()) return unknown(std::move(why));
    f = line_of(r, c.subject)->bytes;
  } else {
    f.value = c.kind == Kind::kRss ? r.rss_bytes : std::abs(r.unexplained_bytes);
  }
  if (low_end(f, 0) <= bound) return {};
  const std::string of_rss = r.rss_bytes > 0 && c.kind != Kind::kRss
                                 ? fmt::format(", {:.1f} % of RSS", 100 * f.value / r.rss_bytes)
                                 : "";
  return {State::kMet, fmt::format("{} is {}{}: more than {}", c.subject, bytes_text(f.value), of_rss, than)};
}

Judgement judge(const Condition& c, const ReportFile& before, const ReportFile& after,
                const Changes& changes) {
  if (!c.is_growth) return judge(c, after);
  if (c.kind == Kind::kRss) return judge_growth(c, {before.rss_bytes, after.rss_bytes, 0}, "rss");
  if (c.kind == Kind::kUnexplained)
    return judge_growth(c, {std::abs(before.unexplained_bytes), std::abs(after.unexplained_bytes), 0},
                        "unexplained");
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
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    const Judgement& j = judgements[i];
    is_met |= j.state == State::kMet;
    if (j.state == State::kMet)
      fmt::print(stderr, "mallard: finding: {} (--fail-on '{}')\n", printable(j.why), conditions[i].text);
    if (j.state == State::kUnknown)
      unknowns.push_back(fmt::format("--fail-on '{}' cannot be judged: {}", conditions[i].text, j.why));
  }
  if (!is_met && !unknowns.empty())
    throw Error(kUnreadable, unknowns[0],
                "leave the condition out, or run the program so that it can be told");
  for (const std::string& unknown : unknowns) fmt::print(stderr, "mallard: warning: {}\n", unknown);
  return is_met ? kFinding : kDone;
}

ExitStatus fail_on(const std::vector<Condition>& conditions, const ReportFile& report) {
  std::vector<Judgement> judgements;
  for (const Condition& c : conditions) judgements.push_back(judge(c, report));
  return announce(conditions, judgements);
}

}  // namespace mallard::cli
