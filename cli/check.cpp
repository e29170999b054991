// SPDX-License-Identifier: Apache-2.0
// `mallard check`: what mallard would see of a program or sees of a process. Nothing of the target is run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/check_result.hpp"
#include "cli/commands.hpp"
#include "cli/libraries.hpp"
#include "cli/process.hpp"

namespace mallard::cli {
namespace {

constexpr int kMaxScripts = 5;  // the kernel's own limit

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// As a shell finds a command; empty if nothing of that name is in PATH.
std::string find_in_path(const std::string& name) {
  const char* list = std::getenv("PATH");
  std::istringstream directories(list ? list : "");
  for (std::string directory; std::getline(directories, directory, ':');) {
    const std::string path = (directory.empty() ? "." : directory) + "/" + name;
    std::error_code none;
    if (access(path.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(path, none)) return path;
  }
  return {};
}

/// A name without a slash means a file here, or else a command.
std::string path_of(const std::string& target) {
  if (target.find('/') != target.npos || access(target.c_str(), F_OK) == 0) return target;
  const std::string found = find_in_path(target);
  if (found.empty())
    throw Error(kUnreadable, fmt::format("'{}' cannot be opened: No such file or directory", target),
                "there is no command of that name in PATH either");
  return found;
}

/// The program that a "#!" line starts: of `env NAME` it is NAME.
std::string interpreter_of(const std::string& line, const std::string& script) {
  std::istringstream words(line);
  std::string program, word;
  words >> program;
  if (base_name(program) != "env") return program;
  while (words >> word) {
    if (word.starts_with('-') || word.find('=') != word.npos) continue;  // options of env, variables
    if (word.find('/') != word.npos) return word;
    const std::string found = find_in_path(word);
    if (!found.empty()) return found;
    throw Error(kUnreadable, fmt::format("the interpreter '{}' of '{}' is not in PATH", word, script));
  }
  return program;
}

/// Follows "#!" lines to the program that really runs.
std::string follow_scripts(std::string path, CheckResult* result) {
  for (int i = 0; i < kMaxScripts; ++i) {
    switch (kind_of_file(path, path)) {
      case FileKind::kElf:
        return path;
      case FileKind::kScript:
        break;
      case FileKind::kOther:
        throw Error(kUnreadable, fmt::format("'{}' is neither an ELF file nor a script", path),
                    "give the program itself, or the pid of a process that runs it");
    }
    const std::string line = script_line(path, path);
    const std::string interpreter = line.empty() ? "" : interpreter_of(line, path);
    if (interpreter.empty())
      throw Error(kUnreadable, fmt::format("the script '{}' names no interpreter", path));
    result->scripts.push_back(fmt::format("'{}' is a script, run by '{}'", path, interpreter));
    path = interpreter;
  }
  throw Error(kUnreadable, fmt::format("'{}' leads from script to script without end", path));
}

CheckResult check_file(const std::string& target) {
  CheckResult result;
  result.target = target;
  result.program = follow_scripts(path_of(target), &result);
  result.name = base_name(target);
  const ElfFile program = read_elf(result.program, result.program);
  result.objects.push_back({result.program, judge_program(program, result.program)});
  if (!program.is_64_bit || !program.is_x86_64) return result;
  const Libraries libraries = find_libraries(program);
  for (const ElfFile& library : libraries.loaded)
    result.objects.push_back({library.path, judge_library(library)});
  for (const auto& [name, needed_by] : libraries.missing)
    result.objects.push_back(
        {name,
         {{"missing", Severity::kPart, fmt::format("is needed by '{}' and was not found", needed_by),
           "install it, or set LD_LIBRARY_PATH as the program is started with"}}});
  for (const auto& [path, why] : libraries.unreadable)
    result.objects.push_back({path, {{"unreadable", Severity::kPart, "cannot be checked: " + why, ""}}});
  return result;
}

CheckResult check_process(int pid, const std::string& target) {
  const Process process = read_process(pid);
  CheckResult result;
  result.target = target;
  result.program = process.executable;
  result.name = base_name(process.executable);
  result.process = {pid, {}};
  const ElfFile program = read_elf(process.executable_open, process.executable);
  // Privileges count when a program starts; this one has.
  result.objects.push_back({result.program, judge_program(program, "")});
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
  return result;
}

ExitStatus check(const std::string& target, bool json) {
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
  const CheckResult result = is_number ? check_process(pid, target) : check_file(target);
  fmt::print("{}", json ? as_json(result) : as_text(result));
  return result.worst() == Severity::kNote ? kDone : kFinding;
}

}  // namespace

void add_check(CLI::App& app, Run* run) {
  struct Options {
    std::string target;
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
  command->footer(
      "Nothing of the target is run.\n"
      "Examples:\n"
      "  mallard check redis-server\n"
      "  mallard check --json ./a.out\n"
      "  mallard check 4711\n"
      "Exit status: 0 nothing in the way, 1 something is not seen, 2 usage, 3 unreadable input");
  command->callback([options, run] { *run = [options] { return check(options->target, options->json); }; });
}

}  // namespace mallard::cli
