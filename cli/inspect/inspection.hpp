// SPDX-License-Identifier: Apache-2.0
// A report of a process that runs without mallard, taken from outside.
#pragma once

#include <string>

#include "report/model/model.hpp"

namespace mallard::cli {

/// How lost blocks are looked for.
struct LeakSearch {
  bool asked = false;
  double again_seconds = 1;    ///< from the end of one look to the next
  bool stops_nothing = false;  ///< no thread, to read its registers
};

struct CoreSearch {
  std::string path;
  std::string executable;  ///< empty: where the core says that it was
  std::string sysroot;     ///< empty: this machine's files
};

/// Looks at the process and calls `use` with what was found, which lives as long as that call.
/// \param quiet  says nothing of a heap that may not be looked into
/// \throws Error in one line if it may not be looked at, or has ended or become another program meanwhile
void inspect_process(int pid, bool quiet, const LeakSearch& leaks,
                     void (*use)(const report::Snapshot& snapshot, void* opaque), void* opaque);

/// Looks at the process, and writes what was found as a JSON report. \throws Error as above
std::string inspection_json(int pid, bool quiet, const LeakSearch& leaks);
/// Does the same with a core file. \throws Error in one line if it is none
std::string core_json(const CoreSearch& core, const LeakSearch& leaks);

}  // namespace mallard::cli
