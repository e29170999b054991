// SPDX-License-Identifier: Apache-2.0
// Where the malloc family of each object of a running process leads, as its loader bound it.
#pragma once

#include <string>
#include <vector>

#include "cli/check/findings.hpp"
#include "cli/process/process.hpp"

namespace mallard::cli {

/// Fills in ObjectReport::bindings of `objects`, in the order of the executable and `process.libraries`, and
/// adds a finding where mallard is loaded and calls lead past it. Nothing where the process's memory may not
/// be read. \param mallard_path  of libmallard.so as the process has it; empty = not loaded
void add_bindings(const Process& process, const std::string& mallard_path,
                  std::vector<ObjectReport>* objects);

}  // namespace mallard::cli
