// SPDX-License-Identifier: Apache-2.0
// `mallard report`: a report, symbolized from the files of its modules, in the formats that people use.
#include <fmt/format.h>
#include <regex.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/os.hpp"
#include "cli/commands.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/file.hpp"
#include "cli/help.hpp"
#include "cli/html_page.hpp"
#include "cli/output.hpp"
#include "cli/process/target.hpp"
#include "cli/report/merge_sites.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/report_html.hpp"
#include "cli/report/series.hpp"
#include "cli/report/symbolize.hpp"
#include "cli/terminal_text.hpp"

namespace mallard::cli {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string format = "text", by, at, focus, fail_on, output = "-", wrappers;
  std::size_t depth = 0, limit = 0;  ///< 0 = not given
};

std::string check_count(const std::string& text) {
  const bool good = !text.empty() && text.size() < 10 && text[0] != '0' &&
                    text.find_first_not_of("0123456789") == text.npos;
  return good ? "" : fmt::format("'{}' is no number from 1 up", text);
}

/// POSIX and not std::regex, which recurses once per character.
class Pattern {
 public:
  explicit Pattern(const std::string& text) {
    const int error = regcomp(&regex_, text.c_str(), REG_EXTENDED | REG_NOSUB);
    if (error == 0) return;
    char why[128];
    regerror(error, &regex_, why, sizeof why);
    throw Error(kUsage, fmt::format("--focus '{}' is no regular expression: {}", text, why),
                "as for grep -E: 'parse|read', '^cache::'");
  }
  ~Pattern() { regfree(&regex_); }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  bool is_in(const std::string& text) const { return regexec(&regex_, text.c_str(), 0, nullptr, 0) == 0; }

 private:
  regex_t regex_;
};

bool matches(const Pattern& pattern, const report::SiteRow& row) {
  const auto is_in = [&](std::string_view text) { return pattern.is_in(std::string(text)); };
  return std::ranges::any_of(stack_of(row), [&](const report::Frame* f) {
    return is_in(f->module) || std::ranges::any_of(lines_of(*f), [&](const report::SourceLine& line) {
             return is_in(line.function) || (!line.file.empty() && is_in(line.file));
           });
  });
}

constexpr const report::FigureFacts& kAtPeak = report::facts_of(report::SiteFigure::kAtPeak);

/// The figure of --by or --at; without: resident memory, unless the allocator could not be asked for it.
const report::FigureFacts* figure_for(const std::string& by, const ReportFile& report) {
  if (by == kAtPeak.name && !report.data.peak.known)
    throw Error(kUsage, fmt::format("'{}' does not tell who held the peak", report.path),
                "it was written by an earlier version, or nothing was recorded");
  if (const report::FigureFacts* asked = report::find_figure(by)) {
    if (asked->is_exact_only() && !report.is_exact())
      throw Error(kUsage,
                  fmt::format("'{}' is a report of {} mode; only exact mode counts {}", report.path,
                              report.mode(), asked->words),
                  report.way_to_exact());
    return asked;
  }
  const bool divided = std::ranges::any_of(
      sites_of(report.data), [](const report::SiteRow& row) { return row.resident_bytes.value > 0; });
  return &report::facts_of(divided ? report::SiteFigure::kResident : report::SiteFigure::kLive);
}

/// The names of all sites, as far as the stacks that are left have them: that fewer sites are shown changes
/// no name.
void keep_names(std::span<const report::SiteRow> all, std::span<report::SiteRow> shown) {
  std::map<std::uint32_t, const report::SiteRow*> by_id;
  for (const report::SiteRow& row : all) by_id[row.id] = &row;
  for (report::SiteRow& row : shown)
    if (const auto found = by_id.find(row.id); found != by_id.end())
      row.naming = found->second->naming.frame < row.depth ? found->second->naming
                                                           : report::Naming{std::max(row.depth - 1, 0), 0};
}

/// Leaves the sites that --focus asks for, those merged that --depth makes equal.
/// \param document  changes likewise
Profile narrow(ReportFile* report, const Options& o, nlohmann::ordered_json* document) {
  Profile p{report, report->data, nullptr, {}};
  p.depth_given = o.depth > 0;
  if (o.focus.empty() && o.depth == 0) return p;
  if (!o.focus.empty()) {
    const Pattern focus(o.focus);
    nlohmann::ordered_json& sites = (*document)["sites"];
    auto kept = nlohmann::ordered_json::array();
    for (const report::SiteRow& row : sites_of(p.report))
      if (matches(focus, row)) kept.push_back(std::move(sites[p.index_of(row)]));
    p.sites_unfocused = sites.size() - kept.size();
    sites = std::move(kept);
  }
  if (o.depth > 0) merge_sites(document, o.depth);
  const std::span<report::SiteRow> rows = read_sites(*document, report);
  keep_names(report->rows, rows);
  p.report.sites = rows.data();
  p.report.site_count = static_cast<std::uint32_t>(rows.size());
  return p;
}

Profile select(ReportFile* report, const Options& o, nlohmann::ordered_json* document) {
  Profile p = narrow(report, o, document);
  p.by = figure_for(o.at.empty() ? o.by : std::string(kAtPeak.name), *report);
  for (const report::SiteRow& row : sites_of(p.report)) p.sites.push_back(&row);
  std::ranges::stable_sort(p.sites, std::greater<>(), [&](const auto* row) { return p.by->of(*row).value; });
  // The text limits each of its tables.
  const std::size_t limit = o.limit > 0 && o.format != "text" ? o.limit : p.sites.size();
  if (p.sites.size() > limit) {
    p.sites_left_out = p.sites.size() - limit;
    p.sites.resize(limit);
  }
  return p;
}

report::TextLayout layout_of(const Profile& p, const Options& o) {
  report::TextLayout layout;
  layout.in_short = false;
  layout.only_one = !o.by.empty() || !o.at.empty();
  layout.table = p.by->figure;
  layout.sites = static_cast<int>(o.limit);
  if (o.depth > 0) layout.frames = static_cast<int>(o.depth);
  return layout;
}

std::string formatted(const Profile& p, const Options& o, Series* series) {
  const std::string& format = o.format;
  if (format == "html") return as_html(p, std::move(series->document), std::move(series->points));
  if (format == "json") return as_json(p, std::move(series->document));
  if (format == "folded") return as_folded(p);
  if (format == "csv") return as_csv(p);
  if (format == "speedscope") return as_speedscope(p);
  if (format == "pprof") return as_pprof(p);
  return as_text(p, layout_of(p, o));
}

/// Names in it are bytes that somebody else chose. The page and the profile have their own ways with them.
std::string cleaned(std::string content, const std::string& format) {
  if (format == "json" || format == "speedscope") return clean_json(content);
  return format == "html" || format == "pprof" ? content : clean_lines(content);
}

void write_to(const std::string& path, const std::string& content, bool is_text) {
  if (path != "-") return write_file(path, content);
  if (is_text) print_report_text(content);
  else print_bytes(content);
}

/// All that can be refused before anything takes time.
void check_options(const Options& o) {
  if (!o.focus.empty()) Pattern check(o.focus);
  if (o.format == "html") require_html();
  else if (o.files.size() > 1)
    throw Error(kUsage,
                fmt::format("--format {} takes one report, and here are {}", o.format, o.files.size()),
                "--format html shows several reports of one process over time");
  if (o.output != "-" || !isatty(STDOUT_FILENO)) return;
  if (o.format == "pprof") throw Error(kUsage, "a pprof profile is not for a terminal", "give -o FILE");
  if (o.format == "html") throw Error(kUsage, "an HTML page is not for a terminal", "give -o FILE.html");
}

ExitStatus report(const Options& o) {
  check_options(o);
  const std::vector<Condition> conditions = parse_conditions(o.fail_on, false);
  Series series;
  if (o.format == "html") series = read_series(o.files);
  else series.latest = read_report(o.files[0], &series.document);
  name_sites(&series.latest, o.wrappers);
  for (std::string& note : symbolize(&series.latest)) series.notes.push_back(std::move(note));
  for (const std::string& note : series.notes) tell("warning: {}", note);
  const Profile profile = select(&series.latest, o, &series.document);
  write_to(o.output, cleaned(formatted(profile, o, &series), o.format), o.format == "text");
  // What the report advises to ask of it cannot be asked any more; a pipe's reader may be anywhere.
  const int pid = static_cast<int>(series.latest.data.process.pid);
  if (o.format == "text" && o.output == "-" && isatty(STDOUT_FILENO) && is_gone(pid))
    tell("process {} has ended, or is not on this machine: it cannot be asked again", pid);
  return fail_on(conditions, series.latest);
}

}  // namespace

void write_page(const std::string& json, const std::string& output, const std::string& wrappers) {
  const Descriptor file(memfd_create("report", MFD_CLOEXEC));
  if (file.get() < 0 || os::write_all(file.get(), json.data(), json.size()) != 0)
    throw Error(kUnreadable, fmt::format("the page cannot be written: {}", std::strerror(errno)));
  Options o;
  o.wrappers = wrappers;
  o.files = {fmt::format("/proc/self/fd/{}", file.get())};
  o.format = "html";
  o.output = output;
  report(o);
}

void add_report(CLI::App& app, Run* run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Print a report with source lines, or convert it");
  command
      ->add_option("FILE", options->files,
                   "The report (.json); - is standard input. For html several of one process, or a directory")
      ->required();
  command->add_option("--format", options->format, "What to write")
      ->check(CLI::IsMember({"text", "html", "json", "folded", "pprof", "speedscope", "csv"}))
      ->capture_default_str();
  command->add_flag_callback(
      "--html", [options] { options->format = "html"; }, "The same as --format html");
  command
      ->add_option("--by", options->by,
                   "What sites are ranked by; default: resident where the report knows it, else live;\n"
                   "temporary and peak: of reports of exact mode")
      ->check(CLI::IsMember(figure_names()));
  command
      ->add_option("--at", options->at,
                   "Rank sites by what they held when most was live in the process: --by at-peak")
      ->check(CLI::IsMember({"peak"}))
      ->excludes("--by");
  command
      ->add_option("--depth", options->depth,
                   "Return addresses to keep of a stack, nearest to malloc first;\n"
                   "sites that are equal then become one")
      ->type_name("N")
      ->check(check_count);
  command
      ->add_option("--focus", options->focus,
                   "Only sites with a function, file or module that matches REGEX (as grep -E)")
      ->type_name("REGEX");
  command->add_option("--limit", options->limit, "How many call sites; default: all, in text 20")
      ->type_name("N")
      ->check(check_count);
  add_wrappers(command, &options->wrappers);
  command->add_option("-o,--output", options->output, "Where to write; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  add_fail_on(command, &options->fail_on, "the report shows any of CONDITIONS");
  command->footer(
      std::string(
          "Functions, lines and inlined calls come from the files that the process ran, or from separate "
          "debug files of the same build-id: beside them, in /usr/lib/debug, from DEBUGINFOD_URLS.\n\n") +
      conditions_help() +
      "\nExamples:\n"
      "  mallard report --by holes --limit 5 mallard.redis-server.4711.0001.json\n"
      "  mallard report --format html -o report.html mallard.redis-server.4711.0001.json\n"
      "  mallard report --format html -o hours.html mallard.redis-server.4711.*.json\n"
      "  mallard report --format pprof -o heap.pb.gz report.json\n"
      "  mallard report --format folded report.json | flamegraph.pl > flames.svg\n"
      "  mallard report --fail-on 'leak,holes>200M,unexplained>5%' report.json\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 unreadable input");
  command->callback([options, run] { *run = [options] { return report(*options); }; });
}

}  // namespace mallard::cli
