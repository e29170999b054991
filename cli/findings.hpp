// SPDX-License-Identifier: Apache-2.0
// What mallard would and would not see of the objects of a program: the rules of `mallard check`.
#pragma once

#include <string>
#include <vector>

#include "cli/elf_file.hpp"

namespace mallard::cli {

enum class Severity {
  kNote,  ///< worth knowing; mallard sees everything
  kPart,  ///< something is not seen
  kAll,   ///< nothing is seen
};

struct Finding {
  std::string id;  ///< for programs; see docs of --json
  Severity severity;
  std::string text;  ///< predicate of the object: "is statically linked"
  std::string next;  ///< what to do; may be empty
};

struct ObjectReport {
  std::string path;
  std::vector<Finding> findings;
};

/// Rules for the program itself. \param status_path  the file whose mode and capabilities count; empty = none
std::vector<Finding> judge_program(const ElfFile& program, const std::string& status_path);
/// Rules for an object that is loaded with it.
std::vector<Finding> judge_library(const ElfFile& library);

}  // namespace mallard::cli
