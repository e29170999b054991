// SPDX-License-Identifier: Apache-2.0
// `mallard check`: what mallard would see of a program or sees of a process. Nothing of the target is run.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <sstream>

#include "base/say.hpp"
#include "cli/check/check_result.hpp"
#include "cli/check/foretell.hpp"
#include "cli/check/process_bindings.hpp"
#include "cli/check/program.hpp"
#include "cli/commands.hpp"
#include "cli/demangled.hpp"
#include "cli/file.hpp"
#include "cli/output.hpp"
#include "cli/process/process.hpp"
#include "cli/process/memory_file.hpp"
#include "cli/terminal_text.hpp"

namespace mallard::cli {
namespace {

/// What serves malloc of a process is no library that mallard's malloc comes before.
void say_who_serves(const ProcessOptions& options, CheckResult* result) {
  const bool built_in = options.requested == "jemalloc";
  for (ObjectReport& o : result->objects)
    for (Finding& f : o.findings) {
      if (f.id != "allocator_library" || options.backend.empty()) continue;
      const bool serves =
          !built_in && (f.allocator == options.backend || base_name(o.path).starts_with(options.backend));
      const std::string name = f.allocator.empty() ? "defines malloc"
                               : f.version.empty() ? fmt::format("is {}", f.allocator)
                                                   : fmt::format("is {} {}", f.allocator, f.version);
      f.text = serves ? fmt::format("{}, and serves this process, behind mallard", name)
                      : fmt::format("{}; {} serves this process in its place", name,
                                    options.backend == "system" ? "glibc" : options.backend);
      f.next = serves ? "ALLOC_BACKEND chooses another" : "without ALLOC_BACKEND it serves, behind mallard";
    }
}

/// The lines that the library had for standard error, without its name.
std::vector<std::string> notices_of(int pid) {
  const MemoryFile memory(pid);
  say::Notices notices{};
  const std::uint64_t at =
      memory.is_open() ? memory.find_in_library({say::kNoticesMark, sizeof say::kNoticesMark}) : 0;
  if (at == 0 || !memory.read(at, &notices)) return {};
  std::vector<std::string> lines;
  std::istringstream text(
      std::string(notices.text, std::min<std::size_t>(notices.bytes, sizeof notices.text)));
  constexpr std::string_view kName = "mallard: ";
  for (std::string line; std::getline(text, line);)
    lines.push_back(line.starts_with(kName) ? line.substr(kName.size()) : line);
  return lines;
}

/// What a request would meet.
void add_seccomp(int pid, std::vector<Finding>* findings) {
  const Seccomp mode = seccomp_of(pid);
  if (mode == Seccomp::kStrict)
    findings->push_back({"seccomp", Severity::kNote,
                         "is in seccomp's strict mode: a request for a report would end it",
                         fmt::format("mallard top {} reads it from outside", pid)});
  if (mode == Seccomp::kFilter)
    findings->push_back({"seccomp", Severity::kNote,
                         "has a seccomp filter: a report makes system calls of systemd's @system-service "
                         "only, 'mallard mode' "
                         "and 'purge' also make a socket; a filter that forbids some of these refuses them, "
                         "or ends the process",
                         fmt::format("mallard top {} reads it from outside, and asks nothing of it", pid)});
}

CheckResult check_process(int pid, const std::string& target) {
  const Process process = read_process(pid);
  CheckResult result;
  result.target = target;
  result.program = process.executable;
  result.name = process.name;
  result.process = {pid, {}};
  const ElfFile program = read_elf(process.executable_open, process.executable);
  // Privileges count when a program starts; this one has.
  result.objects.push_back({result.program, judge_program(program, "")});
  add_takeover(process.executable_open, EmbeddedAction::kReport, &result.objects.front().findings);
  for (const ProcessObject& o : process.libraries) {
    if (base_name(o.path).starts_with("libmallard.so")) result.process->mallard_path = o.path;
    ObjectReport report{o.path, {}};
    try {
      if (o.open_path.empty())
        report.findings.push_back(
            {"unreadable", Severity::kNote, "was deleted or replaced; it is not checked", "run it as root"});
      else if (kind_of_file(o.open_path, o.path) == FileKind::kElf)
        report.findings = judge_library(read_elf(o.open_path, o.path));
    } catch (const Error& e) {
      report.findings.push_back(
          {"unreadable", Severity::kPart, fmt::format("cannot be checked: {}", e.what()), ""});
    }
    result.objects.push_back(report);
  }
  add_bindings(process, result.process->mallard_path, &result.objects);
  if (result.process->mallard_path.empty()) return result;
  add_seccomp(pid, &result.objects.front().findings);
  say_who_serves(read_process_options(pid), &result);
  result.process->notices = notices_of(pid);
  return result;
}

/// \param fail_on  what --fail-on was given, or empty
ExitStatus judge(const CheckResult& result, const std::string& fail_on) {
  if (fail_on.empty() || result.worst() < (fail_on == "any" ? Severity::kPart : Severity::kAll)) return kDone;
  tell("finding: {} (--fail-on {})", result.verdict(), fail_on);
  return kFinding;
}

ExitStatus check(const std::string& target, bool json, const std::string& fail_on) {
  int pid = 0;
  const char* end = target.data() + target.size();
  const bool is_number = !target.empty() && std::all_of(target.begin(), target.end(),
                                                        [](char c) { return c >= '0' && c <= '9'; });
  if (is_number) {
    const auto [stop, error] = std::from_chars(target.data(), end, pid);
    if (error != std::errc() || stop != end || pid == 0)
      throw Error(kUsage, fmt::format("'{}' is no process id", target),
                  "a file whose name is a number is written as ./NAME");
  }
  if (is_number && kill(pid, 0) != 0 && errno == ESRCH)
    throw Error(kUnreadable, fmt::format("process {} cannot be read: No such process", pid),
                "a file whose name is a number is written as ./NAME");
  const CheckResult result = is_number ? check_process(pid, target) : check_file(target);
  if (json) print_json(as_json(result));
  else print_report_text(as_text(result));
  return judge(result, fail_on);
}

}  // namespace

void add_check(CLI::App& app, Run* run) {
  struct Options {
    std::string target;
    std::string fail_on;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("check", "Say what mallard would see of a program, or sees of a process");
  command
      ->add_option("BINARY|PID", options->target,
                   "A program (a path, or a command in PATH), or the id of a process")
      ->required();
  command->add_flag("--json", options->json, "Print JSON instead of text");
  command
      ->add_option(
          "--fail-on", options->fail_on,
          "End with status 1 if anything is not seen (any), or only if nothing is seen (nothing-seen)")
      ->check(CLI::IsMember({"any", "nothing-seen"}));
  command->footer(
      "Nothing of the target is run.\n\n"
      "Examples:\n"
      "  mallard check redis-server\n"
      "  mallard check --json ./a.out\n"
      "  mallard check --fail-on any ./a.out || echo 'not all of it can be seen'\n"
      "  mallard check 4711\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 unreadable input");
  command->callback([options, run] {
    *run = [options] { return check(options->target, options->json, options->fail_on); };
  });
}

}  // namespace mallard::cli
