// SPDX-License-Identifier: Apache-2.0
// The report of a process with mallard, taken from outside: nothing happens in it, and it notices nothing.
#pragma once

#include <atomic>
#include <string>

#include "cli/inspect/inspection.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {

struct OutsideReport {
  bool taken = false;
  bool became_another = false;  ///< it ended, or became another program, meanwhile
  std::string why_not;          ///< a clause, where it was not taken
  bool is_odd = false;          ///< and that is nothing that follows from who asks whom
  std::string json;
  std::string path;     ///< of the JSON file, as this command can open it; empty = it could not be written
  std::string no_file;  ///< why not
};

struct OutsideRequest {
  double timeout_seconds;
  LeakSearch leaks{};
  bool writes_files = true;                   ///< where the process would write them, with that one's rights
  const std::atomic<bool>* ended = nullptr;  ///< set by another thread: nobody waits for it any more
};

/// Takes the report in a process of its own, so that whatever it meets in memory that changes is met there.
OutsideReport report_from_outside(const Target& target, const OutsideRequest& request);

}  // namespace mallard::cli
