// SPDX-License-Identifier: Apache-2.0
// What `mallard inspect` does, for the subcommands that meet a process without mallard.
#pragma once

#include <string>

#include "cli/error.hpp"

namespace mallard::cli {

struct InspectRequest {
  bool json = false, full = false;
  std::string html;     ///< empty = not asked for
  std::string fail_on;  ///< conditions, as they are given
};

/// Prints where the memory of the process is. \throws Error in one line
ExitStatus inspect(int pid, const InspectRequest& request);

/// Prints a line for each process that may be looked at, the largest first.
ExitStatus inspect_all();

}  // namespace mallard::cli
