// SPDX-License-Identifier: Apache-2.0
// What `mallard check` found out, and its two forms.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/check/findings.hpp"

namespace mallard::cli {

struct CheckResult {
  struct RunningProcess {
    int pid;
    std::string mallard_path;            ///< libmallard.so as the process has it; empty = not loaded
    std::vector<std::string> notices{};  ///< lines of the library
  };
  std::string target;                ///< as the user named it
  std::string name;                  ///< last part of the program's path, or what a process is called
  std::string program;               ///< path of the ELF program that was checked
  std::vector<std::string> scripts;  ///< lines that led from a script to the program
  std::optional<RunningProcess> process;
  std::vector<ObjectReport> objects;  ///< the program first

  Severity worst() const;
  std::string verdict() const;
  std::string next_step() const;
};

/// The library that belongs to this command: beside it when not installed; without a directory if nowhere.
std::string library_path();

std::string as_text(const CheckResult& result);
std::string as_json(const CheckResult& result);

}  // namespace mallard::cli
