// SPDX-License-Identifier: Apache-2.0
// `mallard purge`: has the allocator of a running process give back its free pages, and says what went.
#include <fmt/format.h>

#include <memory>

#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/process/control_channel.hpp"
#include "cli/process/find_process.hpp"
#include "cli/units.hpp"

namespace mallard::cli {
namespace {

struct PurgeRequest {
  std::string process;
  bool json = false;
  double timeout_seconds = 60;
};

void print_text(const Target& target, const nlohmann::json& a) {
  const auto text = [&a](const char* key) { return a.value(key, std::string()); };
  const auto bytes = [&a](const char* key) { return bytes_text(a.value(key, 0.0)); };
  const auto line = [](const char* name, const std::string& value) { print("  {:<18}{}\n", name, value); };
  const double ms = a.value("duration_ns", 0.0) / 1e6;
  print("{}: {} given back to the kernel\n", target.who(), bytes("given_back_bytes"));
  line("called",
       fmt::format("{} of {}, which took {:.{}f} ms", text("call"), text("allocator"), ms, ms < 10 ? 1 : 0));
  // What may take seconds was over at once here.
  constexpr double kNoticed = 100;
  line("held up", ms < kNoticed ? text("holds").substr(0, text("holds").find(", up to")) : text("holds"));
  line("not reached", text("leaves"));
  line("resident (RSS)",
       fmt::format("{} before, {} after", bytes("rss_before_bytes"), bytes("rss_after_bytes")));
  line("  of it anonymous",
       fmt::format("{} before, {} after", bytes("heap_before_bytes"), bytes("heap_after_bytes")));
}

ExitStatus purge(const PurgeRequest& request) {
  const Target target =
      wait_for_start(process_of(request.process, "purge"), "purge", nullptr, request.timeout_seconds);
  if (target.is_attached)
    throw Error(kUnreadable, fmt::format("{} was attached to, and takes no commands", target.who()),
                "under 'mallard run' it takes them");
  const ControlAnswer answer = ask_control(target, "purge", request.timeout_seconds);
  if (!answer.done())
    throw Error(kUnreadable, fmt::format("{} has not been purged: {}", target.who(), answer.why_not()));
  if (request.json) print_json(answer.text + "\n");
  else print_text(target, answer.json);
  return kDone;
}

}  // namespace

void add_purge(CLI::App& app, Run* run) {
  auto request = std::make_shared<PurgeRequest>();
  CLI::App* command = app.add_subcommand("purge", "Have a running process's allocator give back free pages");
  add_pid(command, &request->process, "A process under 'mallard run', or with ALLOC_CONTROL=1");
  command->add_flag("--json", request->json, "Print the answer as JSON");
  add_timeout(command, &request->timeout_seconds, "answer");
  command->footer(
      "It may hold the program up: glibc's malloc_trim keeps the arenas locked, up to seconds on large "
      "heaps. "
      "'mallard dump --purge' does the same after a report, and compares it with the report's figures.\n\n"
      "Examples:\n"
      "  mallard purge 4711\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not preloaded, not permitted, control is off, "
      "refused, or no answer");
  command->callback([request, run] { *run = [request] { return purge(*request); }; });
}

}  // namespace mallard::cli
