// SPDX-License-Identifier: Apache-2.0
// A report of a process that runs without mallard, taken from outside.
#pragma once

#include <string>

#include "report/model/model.hpp"

namespace mallard::cli {

/// \param quiet  says nothing of a heap that may not be looked into
/// Looks at the process and calls `use` with what was found, which lives as long as that call.
/// \throws Error in one line if it may not be looked at, or has ended or become another program meanwhile
void inspect_process(int pid, bool quiet, void (*use)(const report::Snapshot& snapshot, void* opaque),
                     void* opaque);

/// Looks at the process, and writes what was found as a JSON report. \throws Error as above
std::string inspection_json(int pid);

}  // namespace mallard::cli
