// SPDX-License-Identifier: Apache-2.0
// What `mallard inspect` does, for the subcommands that meet a process without mallard.
#pragma once

#include <string>

#include "cli/error.hpp"
#include "cli/inspect/inspection.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mallard::cli {

struct InspectRequest {
  bool json = false, full = false;
  std::string html;     ///< empty = not asked for
  std::string fail_on;  ///< conditions, as they are given
  LeakSearch leaks{};
};

/// Prints where the memory of the process, or of that in a core file, is. \throws Error in one line
ExitStatus inspect_core(const CoreSearch& core, const InspectRequest& request);
ExitStatus inspect(int pid, const InspectRequest& request);

/// Seconds that a search for lost blocks may wait between its looks.
double most_waiting(const LeakSearch& leaks);

/// Adds --leaks and what belongs to it. \return --leaks
CLI::Option* add_leaks(CLI::App* command, LeakSearch* leaks);

/// Prints a line for each process that may be looked at, the largest first.
ExitStatus inspect_all();

}  // namespace mallard::cli
