// SPDX-License-Identifier: Apache-2.0
// `mallard diff`: what grew between two reports, by cause and by call site, and what of it is more than the
// error of sampling.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/demangled.hpp"
#include "cli/diff/changes.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/help.hpp"
#include "cli/output.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/symbolize.hpp"
#include "cli/terminal_text.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli {
namespace {

struct Options {
  std::string before, after, by = "resident", fail_on, wrappers;
  std::size_t limit = 10;
  bool json = false;
};

using report::FigureFacts;

std::string describe(const ReportFile& r) {
  return fmt::format("{}, pid {}, report {}, {}, {}{}", printable(r.data.process.name), r.data.process.pid,
                     r.data.number, utc_text(r.data.process.taken_at_ns), printable(allocator_text(r.data)),
                     r.is_exact() ? ", exact mode" : "");
}

/// Leaf first, as text; names are whatever a file says, so nothing in them may reach a terminal as control.
std::vector<std::string> stack_of(const ReportFile& a, const ReportFile& b, const SiteChange& c) {
  std::vector<std::string> out;
  for (const report::Frame* frame : cli::stack_of(c.site()))
    out.push_back(printable(frame_text((c.after ? b : a).data, *frame)));
  return out;
}

/// "/opt/x/server (deleted)" of a program that was replaced is the same one.
std::string_view executable_of(const ReportFile& r) {
  std::string_view path = r.data.process.executable;
  if (path.ends_with(" (deleted)")) path.remove_suffix(std::string_view(" (deleted)").size());
  return path.substr(path.rfind('/') + 1);
}

std::string_view build_of(const ReportFile& r) {
  for (const report::ModuleRow& m : r.data.modules)
    if (m.path == r.data.process.executable) return m.build_id;
  return {};
}

/// How the reports' programs differ, as a sentence; empty if they are the same.
std::string difference_of_programs(const ReportFile& a, const ReportFile& b) {
  const auto first = executable_of(a), second = executable_of(b);
  if (first != second)
    return fmt::format("A and B are of different programs, {} and {}: what differs is no change of either.",
                       printable(first), printable(second));
  const auto build_a = build_of(a), build_b = build_of(b);
  if (build_a.empty() || build_b.empty() || build_a == build_b) return {};
  return fmt::format(
      "A and B ran different builds of {}: a site of one is found in the other only where their code is at "
      "the same place.",
      printable(first));
}

/// Changes beyond the error, largest growth first, shrinkage last.
std::vector<const SiteChange*> certain(const Changes& changes, const FigureFacts& by) {
  std::vector<const SiteChange*> out;
  for (const SiteChange& c : changes.sites)
    if (by.of(c).is_beyond_error()) out.push_back(&c);
  std::stable_sort(out.begin(), out.end(), [&by](const SiteChange* a, const SiteChange* b) {
    return by.of(*a).difference() > by.of(*b).difference();
  });
  return out;
}

/// Figures of one moment in the past, and such as samples may not know, are no matter of change.
bool is_usual(const FigureFacts& f) {
  return !f.is_exact_only() && !f.may_be_untold() && f.figure != report::SiteFigure::kAtPeak;
}

/// The columns of the table of call sites: those that every report has, and the one that it is ranked by.
std::vector<const FigureFacts*> columns(const FigureFacts& by) {
  std::vector<const FigureFacts*> out;
  for (const FigureFacts& f : report::kFigures)
    if (!f.name.empty() && (is_usual(f) || &f == &by)) out.push_back(&f);
  return out;
}

void add_ledger(const ReportFile& a, const ReportFile& b, const Changes& changes, std::string* out) {
  *out += fmt::format("\nWhere the resident memory went\n  {:24}{:>12}{:>12}{:>14}\n", "cause", "A", "B",
                      "change");
  const auto line = [&](std::string_view name, double before, double after, std::string_view note) {
    *out += fmt::format("  {:24}{:>12}{:>12}{:>14}{}\n", name, bytes_text(before), bytes_text(after),
                        change_text(after - before), note);
  };
  for (const LineChange& c : changes.ledger)
    if (c.bytes.before != 0 || c.bytes.after != 0)
      line(printable(report::words_of_cause(c.cause)), c.bytes.before, c.bytes.after,
           c.bytes.is_beyond_error() || c.bytes.difference() == 0 ? "" : "   within the error");
  if (changes.ledger.empty()) *out += "  one of the reports has no ledger\n";
  else line("unexplained", a.unexplained_bytes(), b.unexplained_bytes(), "");
  line("resident (RSS)", a.rss_bytes(), b.rss_bytes(), "");
  line("memory that counts", a.counts_bytes(), b.counts_bytes(), "");
}

void add_sites(const ReportFile& a, const ReportFile& b, const Changes& changes, const Options& o,
               std::string* out) {
  const FigureFacts& by = *report::find_figure(o.by);
  const auto sites = certain(changes, by);
  const bool exact = a.is_exact() && b.is_exact();
  *out += fmt::format("\nCall sites whose {} changed{}\n", by.words, exact ? "" : " by more than the error");
  if (sites.empty()) {
    *out += "  none\n";
  } else {
    *out += "  site";
    for (const FigureFacts* f : columns(by)) *out += fmt::format("{:>13}", f->column);
    *out += '\n';
  }
  for (std::size_t i = 0; i < sites.size() && i < o.limit; ++i) {
    const SiteChange& c = *sites[i];
    *out += fmt::format("{:>6}", c.site().id);
    for (const FigureFacts* f : columns(by)) {
      const double change = f->of(c).difference();
      *out += fmt::format("{:>13}", f->is_bytes() ? change_text(change) : fmt::format("{:+.0f}", change));
    }
    *out += fmt::format("{}\n", !c.before  ? a.data.others.sites > 0 ? "   not leading in A" : "   new"
                                : !c.after ? b.data.others.sites > 0 ? "   not leading in B" : "   gone"
                                           : "");
    if (c.before && c.after && c.before->id != c.after->id)
      *out += fmt::format("        site {} in A\n", c.before->id);
    for (const std::string& line : stack_lines((c.after ? b : a).data, c.site())) *out += line + "\n";
  }
  if (sites.size() > o.limit)
    *out += fmt::format("  {} more with --limit {}\n", sites.size() - o.limit, sites.size());
  *out += fmt::format("  {} of {} sites stayed as they were{}.\n", changes.sites.size() - sites.size(),
                      changes.sites.size(), exact ? "" : ", as far as the samples can tell");
}

std::string as_text(const ReportFile& a, const ReportFile& b, const Changes& changes, const Options& o) {
  std::string out = fmt::format("A  {}\nB  {}\n", describe(a), describe(b));
  const auto seconds_at = [](const ReportFile& r) {
    return static_cast<double>(r.data.process.taken_at_ns) / 1e9;
  };
  const double seconds = seconds_at(b) - seconds_at(a);
  out += seconds >= 0 ? fmt::format("B was taken {} after A.\n", duration_text(seconds))
                      : fmt::format("B was taken {} before A: give the earlier report first.\n",
                                    duration_text(-seconds));
  if (const std::string difference = difference_of_programs(a, b); !difference.empty())
    out += difference + "\n";
  if (allocator_text(a.data) != allocator_text(b.data))
    out += "The two ran on different allocators: compare causes, not only sites.\n";
  if (a.is_exact() != b.is_exact())
    out += fmt::format("{} is exact, {} is {}: errors below are those of the samples.\n",
                       a.is_exact() ? "A" : "B", a.is_exact() ? "B" : "A", (a.is_exact() ? b : a).mode());
  add_ledger(a, b, changes, &out);
  add_sites(a, b, changes, o, &out);
  if (a.is_exact() && b.is_exact())
    return out + "\nBoth reports are exact: every change of call sites is real.\n";
  out +=
      "\nA change counts as more than the error if chance alone would show it in one figure of a thousand.\n";
  return out;
}

nlohmann::ordered_json json_of(const Change& c) {
  return {{"before", std::llround(c.before)},
          {"after", std::llround(c.after)},
          {"change", std::llround(c.difference())},
          {"standard_deviation", std::llround(c.deviation)},
          {"beyond_error", c.is_beyond_error()}};
}

std::string as_json(const ReportFile& a, const ReportFile& b, const Changes& changes, const FigureFacts& by) {
  using nlohmann::ordered_json;
  ordered_json j = {{"schema_version", 1}, {"before", a.path}, {"after", b.path}};
  j["same_program"] = difference_of_programs(a, b).empty();
  j["rss_bytes"] = json_of({a.rss_bytes(), b.rss_bytes(), 0});
  j["counts_bytes"] = json_of({a.counts_bytes(), b.counts_bytes(), 0});
  j["ledger"] = ordered_json::array();
  for (const LineChange& c : changes.ledger)
    j["ledger"].push_back({{"cause", c.cause}, {"bytes", json_of(c.bytes)}});
  j["sites"] = ordered_json::array();
  for (const SiteChange* c : certain(changes, by)) {
    const auto id_of = [](const report::SiteRow* row) {
      return row ? ordered_json(row->id) : ordered_json(nullptr);
    };
    ordered_json& site = j["sites"].emplace_back(ordered_json{
        {"site_before", id_of(c->before)}, {"site_after", id_of(c->after)}, {"stack", stack_of(a, b, *c)}});
    for (const FigureFacts& f : report::kFigures)
      if (is_usual(f) || (a.is_exact() && b.is_exact())) site[std::string(f.field)] = json_of(f.of(*c));
  }
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// Source lines of the sites that will be shown.
void add_lines(const Changes& changes, const FigureFacts& by, std::size_t limit, ReportFile* a,
               ReportFile* b) {
  std::vector<const report::SiteRow*> of_a, of_b;
  for (const SiteChange* c : certain(changes, by)) {
    if (of_a.size() + of_b.size() == limit) break;
    (c->after ? of_b : of_a).push_back(&c->site());
  }
  symbolize(a, of_a);
  symbolize(b, of_b);
}

ExitStatus diff(const Options& o) {
  const std::vector<Condition> conditions = parse_conditions(o.fail_on, true);
  ReportFile a = read_report(o.before), b = read_report(o.after);
  const FigureFacts& by = *report::find_figure(o.by);
  for (const ReportFile* r : {&a, &b})
    if ((by.is_exact_only() || by.may_be_untold()) && !r->is_exact())
      throw Error(
          kUsage,
          fmt::format("'{}' is a report of {} mode; only exact mode knows --by {}", r->path, r->mode(), o.by),
          r->way_to_exact());
  const Changes changes = changes_between(a, b);
  for (ReportFile* r : {&a, &b}) name_sites(r, o.wrappers);
  if (!o.json) add_lines(changes, by, o.limit, &a, &b);
  if (o.json) print_json(as_json(a, b, changes, by));
  else print_report_text(as_text(a, b, changes, o));
  std::vector<Judgement> judgements;
  for (const Condition& c : conditions) judgements.push_back(judge(c, a, b, changes));
  return announce(conditions, judgements);
}

}  // namespace

void add_diff(CLI::App& app, Run* run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("diff", "Say what grew between two reports");
  command->add_option("BEFORE", options->before, "The earlier report (.json)")->required();
  command->add_option("AFTER", options->after, "The later report (.json), of the same program")->required();
  command->add_option("--by", options->by, "What sites are ranked by; default: resident")
      ->check(CLI::IsMember(figure_names()));
  command->add_option("--limit", options->limit, "How many call sites to print")->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON instead of text");
  add_wrappers(command, &options->wrappers);
  add_fail_on(command, &options->fail_on, "any of CONDITIONS is met");
  command->footer(
      std::string("Sites are matched by their stacks, so that the reports may also come from two runs of the "
                  "same binary.\n\n") +
      conditions_help() +
      "A + before the size or share asks for growth, which counts only if it is more than the error; a share "
      "is "
      "then one of the earlier figure: live>+10M, rss>+5%, site.live>+0. All else is asked of AFTER.\n"
      "\nExamples:\n"
      "  mallard diff mallard.redis-server.4711.0001.json mallard.redis-server.4711.0002.json\n"
      "  mallard diff --by live --fail-on 'site.live>+10M,leak' before.json after.json\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 unreadable input");
  command->callback([options, run] { *run = [options] { return diff(*options); }; });
}

}  // namespace mallard::cli
