// SPDX-License-Identifier: Apache-2.0
// What mallard would and would not see of the objects of a program: the rules of `mallard check`.
#pragma once

#include <string>
#include <vector>

#include "cli/check/elf_file.hpp"

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
  /// Name and version of an allocator that was recognised, and what told; empty for other findings.
  std::string allocator, version, recognised_by;
};

struct BoundTo {
  std::string object;   ///< path
  unsigned references;  ///< slots of the malloc family that lead there
};

struct ObjectReport {
  std::string path;
  std::vector<Finding> findings;
  /// The place to which its calls of malloc lead: "mallard", "itself", "the program"; empty = it has none, or
  /// it is a process, where `bindings` tell.
  std::string malloc_from = {};
  std::vector<BoundTo> bindings = {};
};

/// Rules for the program itself. \param status_path  the file whose mode and capabilities count; empty = none
std::vector<Finding> judge_program(const ElfFile& program, const std::string& status_path);
/// The place to which malloc of an object would lead, by the loader's rules. See ObjectReport::malloc_from.
/// \param program  what it is loaded with; may be the object itself
std::string malloc_of(const ElfFile& object, const ElfFile& program);
/// Rules for an object that is loaded with it.
std::vector<Finding> judge_library(const ElfFile& library);

}  // namespace mallard::cli
