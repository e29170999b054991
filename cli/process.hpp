// SPDX-License-Identifier: Apache-2.0
// A running process, as /proc shows it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mallard::cli {

struct ProcessObject {
  std::string path;       ///< as the process sees it
  std::string open_path;  ///< where this command can open the very file; empty = nowhere any more
};

struct Process {
  int pid;
  std::string executable;                ///< path as the process sees it
  std::string executable_open;           ///< /proc/PID/exe
  std::vector<ProcessObject> libraries;  ///< mapped executable, without the executable itself
};

/// \throws Error if there is no such process, it may not be read, or it has no program (kernel thread,
/// zombie)
Process read_process(int pid);

}  // namespace mallard::cli
