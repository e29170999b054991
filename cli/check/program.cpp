// SPDX-License-Identifier: Apache-2.0
#include "cli/check/program.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/check/foretell.hpp"
#include "cli/check/libraries.hpp"
#include "cli/check/scripts.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

constexpr int kMaxScripts = 5;  // the kernel's own limit

}  // namespace

std::string path_of(const std::string& target) {
  if (target.find('/') != target.npos || access(target.c_str(), F_OK) == 0) return target;
  const std::string found = find_in_path(target);
  if (found.empty())
    throw Error(kUnreadable, fmt::format("'{}' cannot be opened: No such file or directory", target),
                "there is no command of that name in PATH either");
  return found;
}

std::string command_file(const std::string& command) {
  const std::string found = command.find('/') == command.npos ? find_in_path(command) : "";
  return found.empty() ? path_of(command) : found;
}

namespace {

/// Follows shims, "#!" lines and shells that end by exec to the program that really runs.
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
    if (const std::string program = program_of_shim(path); !program.empty()) {
      result->scripts.push_back(fmt::format("'{}' is a shim, which runs '{}'", path, program));
      path = program;
      continue;
    }
    const std::string line = script_line(path, path);
    const std::string interpreter = line.empty() ? "" : interpreter_of(line, path);
    if (interpreter.empty())
      throw Error(kUnreadable, fmt::format("the script '{}' names no interpreter", path));
    const std::string becomes = is_shell(interpreter) ? program_of_shell_script(path) : "";
    result->scripts.push_back(
        becomes.empty()
            ? fmt::format("'{}' is a script, run by '{}'", path, interpreter)
            : fmt::format("'{}' is a script of '{}', which becomes '{}'", path, interpreter, becomes));
    path = becomes.empty() ? interpreter : becomes;
  }
  throw Error(kUnreadable, fmt::format("'{}' leads from script to script without end", path));
}

}  // namespace

CheckResult check_file(const std::string& target, EmbeddedAction embedded) {
  CheckResult result;
  result.target = target;
  result.program = follow_scripts(path_of(target), &result);
  result.name = base_name(target);
  const ElfFile program = read_elf(result.program, result.program);
  result.objects.push_back({result.program, judge_program(program, result.program)});
  result.objects.back().malloc_from = malloc_of(program, program);
  add_takeover(result.program, embedded, &result.objects.front().findings);
  if (!program.is_64_bit || !program.is_for_this_machine) return result;
  const Libraries libraries = find_libraries(program);
  for (const ElfFile& library : libraries.loaded)
    result.objects.push_back({library.path, judge_library(library), malloc_of(library, program)});
  for (const auto& [name, needed_by] : libraries.missing)
    result.objects.push_back(
        {name,
         {{"missing", Severity::kPart, fmt::format("is needed by '{}' and was not found", needed_by),
           "install it, or set LD_LIBRARY_PATH as the program is started with"}}});
  for (const auto& [path, why] : libraries.unreadable)
    result.objects.push_back({path, {{"unreadable", Severity::kPart, "cannot be checked: " + why, ""}}});
  return result;
}

}  // namespace mallard::cli
