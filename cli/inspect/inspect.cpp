// SPDX-License-Identifier: Apache-2.0
// `mallard inspect`: where the memory of a process is that runs without mallard.
#include "cli/inspect/inspect.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/os.hpp"
#include "cli/commands.hpp"
#include "cli/demangled.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/file.hpp"
#include "cli/html_page.hpp"
#include "cli/inspect/core_input.hpp"
#include "cli/inspect/inspection.hpp"
#include "cli/output.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "cli/report/report_html.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"
#include "outside/lost_blocks.hpp"

namespace mallard::cli {
namespace {

/// Before what takes long.
void check(const InspectRequest& request) {
  parse_conditions(request.fail_on, false);
  if (!request.html.empty()) require_html();
}

/// \param what  that was inspected, as a user writes it
ExitStatus show(const std::string& json, const std::string& what, const InspectRequest& request) {
  const std::vector<Condition> conditions = parse_conditions(request.fail_on, false);
  ReportFile report = parse_report(json, fmt::format("the inspection of {}", printable(what)));
  if (request.json) print_json(json);
  else if (!request.html.empty()) write_page(json, request.html, "");
  else
    print_report_text(text_shown(&report, request.full,
                                 fmt::format("all figures: mallard inspect --full {}", printable(what))));
  return conditions.empty() ? kDone : fail_on(conditions, report);
}

/// What the user wrote.
struct Words {
  std::string process;
  bool all = false;
  bool waits = false;      ///< an option that only a process that runs has a use for
  std::string beside_all;  ///< an option that is no --all; empty: there is none
  CoreSearch core;
  InspectRequest request;
};

ExitStatus inspect_what(Words& words) {
  if (words.all && !words.beside_all.empty())
    throw Error(kUsage, fmt::format("--all excludes {}", words.beside_all), "inspect one process with that");
  if (words.all) return inspect_all();
  if (words.request.json && !words.request.html.empty())
    throw Error(kUsage, "--json excludes --html", "one form of a report at a time");
  if (words.process.empty()) throw Error(kUsage, "PID|NAME|CORE is required", "--all looks at every process");
  if (!is_number(words.process) && names_core(words.process)) {
    if (words.waits)
      throw Error(kUsage, "--again-after and --no-stop are for processes that run", "a core file does not");
    words.core.path = words.process;
    return inspect_core(words.core, words.request);
  }
  if (!words.core.executable.empty() || !words.core.sysroot.empty())
    throw Error(kUsage, "--exe and --sysroot are for core files", "name a core file");
  return inspect(process_of(words.process, "inspect"), words.request);
}

}  // namespace

ExitStatus inspect(int pid, const InspectRequest& request) {
  check(request);
  return show(inspection_json(pid, false, request.leaks), std::to_string(pid), request);
}

ExitStatus inspect_core(const CoreSearch& core, const InspectRequest& request) {
  check(request);
  return show(core_json(core, request.leaks), core.path, request);
}

CLI::Option* add_leaks(CLI::App* command, LeakSearch* leaks) {
  CLI::Option* asked = command->add_flag(
      "--leaks", leaks->asked, "Look for blocks that nothing in the process leads to any more: lost ones");
  command->add_option("--again-after", leaks->again_seconds, "Look again after SECONDS; one look errs")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.01, 3600.0), "")
      ->needs(asked)
      ->capture_default_str();
  command
      ->add_flag("--no-stop", leaks->stops_nothing,
                 "Stop no thread for its registers, which takes well below 1 ms each")
      ->needs(asked);
  return asked;
}

double most_waiting(const LeakSearch& leaks) {
  return leaks.asked ? leaks.again_seconds * outside::kMostLooks : 0;
}

void add_inspect(CLI::App& app, Run* run) {
  auto words = std::make_shared<Words>();
  InspectRequest* request = &words->request;
  CLI::App* command = app.add_subcommand("inspect", "Say where the memory of any running process is");
  CLI::Option* pid = command->add_option("PID|NAME|CORE", words->process,
                                         "Any process, as it runs, or a core file, compressed or not");
  command->add_flag("--all", words->all, "A line for each process that may be looked at, the largest first")
      ->excludes(pid);
  command->add_flag("--full", request->full, "Print all that was found, not the main figures");
  command->add_flag("--json", request->json, "Print JSON instead of text, in the format of reports");
  command->add_option("--html", request->html, "Write a page to FILE, instead of the text")
      ->type_name("FILE");
  command->add_option("--exe", words->core.executable, "The executable that a core file is of")
      ->type_name("FILE");
  command->add_option("--sysroot", words->core.sysroot, "Where the files of a core's process are below")
      ->type_name("DIR");
  add_leaks(command, &request->leaks);
  add_fail_on(command, &request->fail_on, "the process shows any of CONDITIONS");
  command->footer(
      std::string(
          "Reads the process's memory from outside: nothing is loaded into it, and it is not stopped. Who "
          "allocated is not known so: 'mallard run' tells it.\n\n") +
      conditions_help() +
      "\nExamples:\n"
      "  mallard inspect 4711\n"
      "  mallard inspect redis-server\n"
      "  sudo mallard inspect --all\n"
      "  sudo mallard inspect --json 4711 > 4711.json\n"
      "  mallard inspect --leaks --fail-on 'lost>1M' 4711\n"
      "  mallard inspect core.4711.zst\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 no such process, or not permitted");
  command->callback([words, run, command] {
    words->waits = command->count("--again-after") > 0 || command->count("--no-stop") > 0;
    for (const CLI::Option* option : command->get_options())
      if (option->count() > 0 && option->get_name() != "--all") words->beside_all = option->get_name();
    *run = [words] { return inspect_what(*words); };
  });
}

}  // namespace mallard::cli
