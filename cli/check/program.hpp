// SPDX-License-Identifier: Apache-2.0
// Looks at a program file and all that would be loaded with it, without running anything.
#pragma once

#include <string>

#include "base/options.hpp"
#include "cli/check/check_result.hpp"

namespace mallard::cli {

/// The file of a program: a name without a slash means a file here, or else a command in PATH.
/// \throws Error if there is none
std::string path_of(const std::string& target);

/// The file that a shell would start: a name without a slash means a command in PATH, or else a file here.
/// \throws Error if there is none
std::string command_file(const std::string& command);

/// What mallard would see of the program.
/// \param embedded  ALLOC_EMBEDDED, as it will run with
/// \throws Error if it cannot be read or is no program
CheckResult check_file(const std::string& target, EmbeddedAction embedded = EmbeddedAction::kReport);

}  // namespace mallard::cli
