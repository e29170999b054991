// SPDX-License-Identifier: Apache-2.0
// A report as the subcommands that take one print it: on a screen or two, or in full.
#pragma once

#include <string>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

/// The report by the writer that the library has, too, with source lines where debug information is there.
/// \param where_all  what the last line of a short one says of where the rest is; printable
std::string text_shown(ReportFile* report, bool full, const std::string& where_all);

}  // namespace mallard::cli
