// SPDX-License-Identifier: Apache-2.0
// `mallard mode`: what a running process records, and switching it.
#include <fmt/format.h>

#include <memory>

#include "base/control_protocol.hpp"
#include "base/options.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/process/control_channel.hpp"
#include "cli/process/find_process.hpp"

namespace mallard::cli {
namespace {

struct ModeRequest {
  std::string process;
  std::string mode;  ///< empty: only show it
  bool json = false;
  double timeout_seconds = 10;
};

std::string is_mode(const std::string& word) {
  if (word == kBeginTiming || word == kEndTiming) return {};
  const char* expected = what_is_expected("ALLOC_MODE", word);
  return expected ? fmt::format("'{}' is no mode: expected is {}, or {} or {}", word, expected, kBeginTiming,
                                kEndTiming)
                  : std::string();
}

ExitStatus mode(const ModeRequest& request) {
  const Target target = wait_for_start(process_of(request.process, "mode"), "mode", nullptr,
                                       request.timeout_seconds);
  if (target.is_attached)
    throw Error(kUnreadable, fmt::format("{} was attached to, and takes no commands", target.who()),
                fmt::format("'mallard attach --mode exact {0}' switches, 'mallard detach {0}' ends it", target.pid));
  const ControlAnswer answer =
      ask_control(target, request.mode.empty() ? "mode" : "mode " + request.mode, request.timeout_seconds);
  if (!answer.done())
    throw Error(kUnreadable,
                fmt::format("{} stays in mode {}: {}", target.who(),
                            answer.json.value("mode", std::string("unknown")), answer.why_not()));
  if (request.json) {
    print_json(answer.text + "\n");
    return kDone;
  }
  const std::string now = answer.json.value("mode", std::string()), was = answer.json.value("was", now);
  const bool is_switch = !request.mode.empty() && request.mode != kBeginTiming && request.mode != kEndTiming;
  print("{}: mode {}{}{}\n", target.who(), now,
        !is_switch   ? ""
        : was == now ? ", as before"
                     : ", was " + was,
        answer.json.value("latency", false) ? "; a share of the calls is timed" : "");
  return kDone;
}

}  // namespace

void add_mode(CLI::App& app, Run* run) {
  auto request = std::make_shared<ModeRequest>();
  CLI::App* command = app.add_subcommand("mode", "Show or switch what a running process records");
  add_pid(command, &request->process, "A process under 'mallard run', or with ALLOC_CONTROL=1");
  command
      ->add_option("MODE", request->mode,
                   "sample, exact (every allocation) or off; latency, to time calls beside that, or "
                   "latency=off; without: only show it")
      ->check(is_mode, "");
  command->add_flag("--json", request->json, "Print the answer as JSON");
  add_timeout(command, &request->timeout_seconds, "answer");
  command->footer(
      "Blocks that were allocated before a mode began are not in its books.\n\n"
      "Examples:\n"
      "  mallard mode 4711\n"
      "  mallard mode 4711 exact\n"
      "  mallard mode 4711 latency\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not preloaded, not permitted, control is off, "
      "refused, or no answer");
  command->callback([request, run] { *run = [request] { return mode(*request); }; });
}

}  // namespace mallard::cli
