// SPDX-License-Identifier: Apache-2.0
// What the kernel lets this command see of a process, found out before anything is read.
#pragma once

#include <string>

namespace mallard::cli {

struct Access {
  std::string who;              ///< the process as messages name it: "process 4711 ('redis-server')"
  bool may_copy = true;         ///< its memory can be read; else only what the kernel says of it
  std::string why_not, remedy;  ///< where it may not, a clause each
};

/// \throws Error in one line, with the remedy, if there is no such process, it has no memory of its own, or
/// its mappings and pages may not be read
/// \param command  the subcommand, for hints
Access find_access(int pid, const char* command = "inspect");

}  // namespace mallard::cli
