// SPDX-License-Identifier: Apache-2.0
// `mallard dump`: takes the report of a running process from outside, or asks it for one, and prints it.
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
#include "cli/process/report_outside.hpp"
#include "cli/report/report_html.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {
namespace {

struct DumpRequest {
  std::string process;
  bool purge = false, by_signal = false, json = false, full = false;
  std::string html;  ///< empty = not asked for
  double timeout_seconds = 30;
  std::string fail_on, wrappers;
  LeakSearch leaks{};
};

/// A report, and where its JSON file is; empty where it is in none.
struct Got {
  std::string text, path, shown;
};

std::string text_of(const DumpRequest& request, const Got& got) {
  ReportFile report = parse_report(got.text, got.shown);
  name_sites(&report, request.wrappers);
  return text_shown(&report, request.full,
                    got.path.empty()
                        ? std::string("all call sites and figures: mallard dump --full")
                        : fmt::format("all call sites and figures: mallard report {}, or dump --full",
                                      printable(got.shown)));
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
ExitStatus look_from_outside(int pid, const DumpRequest& request) {
  return inspect(pid, {request.json, request.full, request.html, request.fail_on, request.leaks});
}

ExitStatus look_instead(int pid, const DumpRequest& request, const CannotAnswer& why) {
  tell("{}: it is looked at from outside, without call sites{}{}", why.what(), why.hint().empty() ? "" : "; ",
       why.hint());
  try {
    return look_from_outside(pid, request);
  } catch (const Error& refused) {
    throw Error(kUnreadable, why.what(), refused.what());
  }
}

/// Reads what the process keeps, where that is permitted. \return nothing if it has to be asked
std::optional<Got> take_from_outside(int pid, const LeakSearch& leaks, double until) {
  while (true) {
    const Target target = wait_for_start(pid, "dump", nullptr, until - now_seconds());
    OutsideReport report = report_from_outside(target, {std::max(until - now_seconds(), 0.001), leaks});
    if (report.became_another) {
      if (is_gone(pid))
        throw Error(kUnreadable, fmt::format("{} ended before its report was taken", target.who()));
      if (now_seconds() < until) continue;
      throw Error(kUnreadable, fmt::format("{} became another program", target.who()));
    }
    if (!report.taken && leaks.asked)
      throw Error(kUnreadable,
                  fmt::format("lost blocks of {} cannot be looked for from outside: {}", target.who(),
                              report.why_not),
                  "its signal cannot do it; without --leaks there is a report");
    if (!report.taken) {
      if (report.is_odd) tell("{} is asked by its signal: {}", target.who(), report.why_not);
      return std::nullopt;
    }
    Got got{std::move(report.json), report.path, ""};
    got.shown = report.path.empty() ? fmt::format("the report of {}", target.who())
                                    : ReportWatch(target).shown_path(report.path);
    if (report.path.empty() && !report.no_file.empty()) tell("the report is in no file: {}", report.no_file);
    return got;
  }
}

Got ask(int pid, const DumpRequest& request, double until) {
  std::optional<ReportWatch> watch;
  NewReport report = ask_running(pid, request.purge, until, &watch);
  return {std::move(report.text), report.path, watch->shown_path(report.path)};
}

Got get(int pid, const DumpRequest& request) {
  const double until = now_seconds() + request.timeout_seconds + most_waiting(request.leaks);
  if (!request.purge && !request.by_signal)
    if (std::optional<Got> got = take_from_outside(pid, request.leaks, until)) return *got;
  return ask(pid, request, until);
}

ExitStatus dump(const DumpRequest& request) {
  const std::vector<Condition> conditions = parse_conditions(request.fail_on, false);
  if (!request.html.empty()) require_html();
  const int pid = process_of(request.process, "dump");
  Got got;
  try {
    got = get(pid, request);
  } catch (const NotPreloaded&) {
    if (request.purge) throw;
    tell("process {} was not started with mallard: it is looked at from outside", pid);
    return look_from_outside(pid, request);
  } catch (const CannotAnswer& why) {
    if (request.purge) throw;
    return look_instead(pid, request, why);
  }
  if (request.json) print_json(got.text);
  else if (request.html.empty()) print_report_text(text_of(request, got));
  if (!got.path.empty()) tell("{} (and .txt)", got.shown);
  if (!request.html.empty()) write_page(got.text, request.html, request.wrappers);
  return conditions.empty() ? kDone : fail_on(conditions, parse_report(got.text, got.shown));
}

}  // namespace

void add_dump(CLI::App& app, Run* run) {
  auto request = std::make_shared<DumpRequest>();
  CLI::App* command = app.add_subcommand("dump", "Take a report of a running process and print it");
  add_pid(command, &request->process,
          "A process with libmallard.so loaded; any other is inspected, and one that cannot answer");
  CLI::Option* purge = command->add_flag(
      "--purge", request->purge,
      "Have the allocator asked to give back its free pages, after the report's figures are taken");
  command->add_flag("--full", request->full,
                    fmt::format("Print all of the report, not {} lines of it", report::kBriefLines));
  command->add_flag("--json", request->json, "Print JSON instead of text");
  command->add_option("--html", request->html, "Write the report as a page to FILE, instead of the text")
      ->type_name("FILE");
  CLI::Option* by_signal =
      command->add_flag("--by-signal", request->by_signal,
                        "Ask the process itself by its signal, though it could be read from outside");
  add_leaks(command, &request->leaks)->excludes(purge)->excludes(by_signal);
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
      "  mallard dump --leaks --fail-on 'lost>1M' 4711\n"
      "  mallard dump --fail-on 'any,rss>2G' 4711\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 no such process, not permitted, or "
      "no answer");
  command->callback([request, run] { *run = [request] { return dump(*request); }; });
}

}  // namespace mallard::cli
