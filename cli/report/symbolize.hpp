// SPDX-License-Identifier: Apache-2.0
// Symbolizes a report from the files of its modules, where they are the very files that the process ran.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

/// Reads what the addresses of call sites need, module by module, and names the sites anew. Addresses of
/// modules whose files are not there, or are others, keep what the report says.
/// \param sites  those of the report that will be shown
/// \return one line for each module that could not be used, for standard error
std::vector<std::string> symbolize(ReportFile* report, std::span<const report::SiteRow* const> sites);
/// Does so for all sites of the report.
std::vector<std::string> symbolize(ReportFile* report);

/// The sites that a brief report of it shows or names.
std::vector<const report::SiteRow*> leading_sites(const report::Snapshot& report);

}  // namespace mallard::cli
