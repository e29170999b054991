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
#include "cli/fail_on/conditions.hpp"
#include "cli/inspect/inspection.hpp"
#include "cli/output.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/report_html.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"

namespace mallard::cli {
namespace {

/// The page of a report that is in no file.
void write_page(const std::string& json, const std::string& output) {
  const int fd = memfd_create("report", MFD_CLOEXEC);
  if (fd < 0 || os::write_all(fd, json.data(), json.size()) != 0) {
    if (fd >= 0) close(fd);
    throw Error(kUnreadable, fmt::format("the page cannot be written: {}", std::strerror(errno)));
  }
  const std::unique_ptr<const int, void (*)(const int*)> closed(&fd, [](const int* open) { close(*open); });
  write_html(fmt::format("/proc/self/fd/{}", fd), output, "");
}

}  // namespace

ExitStatus inspect(int pid, const InspectRequest& request) {
  const std::vector<Condition> conditions = parse_conditions(request.fail_on, false);
  if (!request.html.empty()) require_html();
  const std::string json = inspection_json(pid);
  ReportFile report = parse_report(json, fmt::format("the inspection of process {}", pid));
  if (request.json) print_json(json);
  else if (!request.html.empty()) write_page(json, request.html);
  else
    print_report_text(
        text_shown(&report, request.full, fmt::format("all figures: mallard inspect --full {}", pid)));
  return conditions.empty() ? kDone : fail_on(conditions, report);
}

void add_inspect(CLI::App& app, Run* run) {
  struct Words {
    std::string process;
    bool all = false;
    InspectRequest request;
  };
  auto words = std::make_shared<Words>();
  InspectRequest* request = &words->request;
  CLI::App* command = app.add_subcommand("inspect", "Say where the memory of any running process is");
  add_pid(command, &words->process, "Any process, as it runs");
  CLI::Option* pid = command->get_option("PID|NAME")->required(false);
  command->add_flag("--all", words->all, "A line for each process that may be looked at, the largest first")
      ->excludes(pid);
  command->add_flag("--full", request->full, "Print all that was found, not the main figures");
  command->add_flag("--json", request->json, "Print JSON instead of text, in the format of reports");
  command->add_option("--html", request->html, "Write a page to FILE, instead of the text")
      ->type_name("FILE");
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
      "  sudo mallard inspect --json 4711 > 4711.json\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 no such process, or not permitted");
  command->callback([words, run] {
    *run = [words] {
      if (words->all) return inspect_all();
      if (words->process.empty()) throw Error(kUsage, "PID|NAME is required", "--all looks at every process");
      return inspect(process_of(words->process, "inspect"), words->request);
    };
  });
}

}  // namespace mallard::cli
