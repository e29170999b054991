// SPDX-License-Identifier: Apache-2.0
// A report as a page, for the subcommands.
#pragma once

#include <string>

namespace mallard::cli {

/// What `mallard report --format html -o OUTPUT` does, of a report that need not be in a file. \throws Error
void write_page(const std::string& json, const std::string& output, const std::string& wrappers);

}  // namespace mallard::cli
