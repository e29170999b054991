// SPDX-License-Identifier: Apache-2.0
// `mallard dump`: asks a running process for a report, waits for it and prints it.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "cli/commands.hpp"
#include "cli/demangled.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/html_page.hpp"
#include "cli/inspect/inspect.hpp"
#include "cli/output.hpp"
#include "cli/process/ask_report.hpp"
#include "cli/process/find_process.hpp"
#include "cli/report/report_html.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {
namespace {

struct Request {
  std::string process;
  bool purge = false, json = false, full = false;
  std::string html;  ///< empty = not asked for
  double timeout_seconds = 30;
  std::string fail_on, wrappers;
};

std::string text_of(const Request& request, const std::string& json, const std::string& shown) {
  ReportFile report = parse_report(json, shown);
  name_sites(&report, request.wrappers);
  return text_shown(
      &report, request.full,
      fmt::format("all call sites and figures: mallard report {}, or dump --full", printable(shown)));
}

/// A shell or a wrapper may become another program while it is asked: then that one is asked.
NewReport ask_running(int pid, bool purge, double until, std::optional<ReportWatch>* watch) {
  while (true) {
    const double left = until - now_seconds();
    watch->emplace(wait_for_start(pid, "dump", "a report", left));
    try {
      return (*watch)->ask(purge, std::max(until - now_seconds(), 0.001));
    } catch (const BecameAnother&) {
      if (now_seconds() >= until) throw;
    }
  }
}

/// A process that was not started with mallard has no report to ask for, and some that were cannot give one.
ExitStatus look_from_outside(int pid, const Request& request) {
  return inspect(pid, {request.json, request.full, request.html, request.fail_on});
}

ExitStatus look_instead(int pid, const Request& request, const CannotAnswer& why) {
  tell("{}: it is looked at from outside, without call sites{}{}", why.what(), why.hint().empty() ? "" : "; ",
       why.hint());
  try {
    return look_from_outside(pid, request);
  } catch (const Error& refused) {
    throw Error(kUnreadable, why.what(), refused.what());
  }
}

ExitStatus dump(const Request& request) {
  const std::vector<Condition> conditions = parse_conditions(request.fail_on, false);
  if (!request.html.empty()) require_html();
  const int pid = process_of(request.process, "dump");
  const double until = now_seconds() + request.timeout_seconds;
  std::optional<ReportWatch> watch;
  NewReport report;
  try {
    report = ask_running(pid, request.purge, until, &watch);
  } catch (const NotPreloaded&) {
    if (request.purge) throw;
    tell("process {} was not started with mallard: it is looked at from outside", pid);
    return look_from_outside(pid, request);
  } catch (const CannotAnswer& why) {
    if (request.purge) throw;
    return look_instead(pid, request, why);
  }
  if (request.json) {
    print_json(report.text);
  } else if (request.html.empty()) {
    print_report_text(text_of(request, report.text, watch->shown_path(report.path)));
  }
  tell("{} (and .txt)", watch->shown_path(report.path));
  if (!request.html.empty()) write_html(report.path, request.html, request.wrappers);
  return conditions.empty() ? kDone : fail_on(conditions, read_report(report.path));
}

}  // namespace

void add_dump(CLI::App& app, Run* run) {
  auto request = std::make_shared<Request>();
  CLI::App* command = app.add_subcommand("dump", "Ask a running process for a report and print it");
  add_pid(command, &request->process,
          "A process with libmallard.so loaded; any other is inspected, and one that cannot answer");
  command->add_flag(
      "--purge", request->purge,
      "Have the allocator asked to give back its free pages, after the report's figures are taken");
  command->add_flag("--full", request->full,
                    fmt::format("Print all of the report, not {} lines of it", report::kBriefLines));
  command->add_flag("--json", request->json, "Print JSON instead of text");
  command->add_option("--html", request->html, "Write the report as a page to FILE, instead of the text")
      ->type_name("FILE");
  add_wrappers(command, &request->wrappers);
  add_timeout(command, &request->timeout_seconds, "report");
  add_fail_on(command, &request->fail_on, "the report shows any of CONDITIONS");
  command->footer(
      std::string(
          "The report's path goes to standard error. --purge may hold the program up: glibc's malloc_trim "
          "keeps the arenas locked, up to seconds on large heaps.\n\n") +
      conditions_help() +
      "\nExamples:\n"
      "  mallard dump 4711\n"
      "  mallard dump redis-server\n"
      "  mallard dump --purge --json 4711\n"
      "  mallard dump --html report.html 4711\n"
      "  mallard dump --fail-on 'any,rss>2G' 4711\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 no such process, not permitted, or "
      "no answer");
  command->callback([request, run] { *run = [request] { return dump(*request); }; });
}

}  // namespace mallard::cli
