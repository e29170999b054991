// SPDX-License-Identifier: Apache-2.0
// Several reports of one process, taken one after the other.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

struct Series {
  ReportFile latest;
  std::vector<ReportFile> points;  ///< all of them, the latest too, oldest first; without sites and modules
  std::vector<std::string> notes;  ///< one line for each file of a directory that was left out
};

/// \param paths     reports, or directories: all reports in them
/// \param document  all of the latest report
/// \throws Error (kUnreadable) for what is no report; (kUsage) if they are not of one process
Series read_series(const std::vector<std::string>& paths, nlohmann::ordered_json* document);

}  // namespace mallard::cli
