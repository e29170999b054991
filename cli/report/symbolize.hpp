// SPDX-License-Identifier: Apache-2.0
// Symbolizes a report from the files of its modules, where they are the very files that the process ran.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

/// Reads what the addresses of all sites need, module by module. Addresses of modules whose files are not
/// there, or are others, keep what the report says.
/// \return one line for each module that could not be used, for standard error
std::vector<std::string> symbolize(ReportFile* report);

}  // namespace mallard::cli
