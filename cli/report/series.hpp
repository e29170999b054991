// SPDX-License-Identifier: Apache-2.0
// Several reports of one process, taken one after the other.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

struct Series {
  ReportFile latest;
  nlohmann::ordered_json document;             ///< all of the latest
  std::vector<nlohmann::ordered_json> points;  ///< what the page shows of each, the latest too, oldest first
  std::vector<std::string> notes;  ///< one line for each file of a directory that was left out
};

/// \param paths  reports, or directories: all reports in them
/// \throws Error (kUnreadable) for what is no report; (kUsage) if they are not of one process
Series read_series(const std::vector<std::string>& paths);

}  // namespace mallard::cli
