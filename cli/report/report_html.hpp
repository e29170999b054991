// SPDX-License-Identifier: Apache-2.0
// A report as a page, for the subcommands.
#pragma once

#include <string>

namespace mallard::cli {

/// What `mallard report --format html -o OUTPUT REPORT` does. \throws Error
void write_html(const std::string& report_path, const std::string& output, const std::string& wrappers);

}  // namespace mallard::cli
