// SPDX-License-Identifier: Apache-2.0
// How --help reads: within the columns of a terminal, and with the names that the tables of report/model
// have.
#pragma once

#include <string>
#include <vector>

namespace mallard::cli {

inline constexpr std::size_t kHelpColumns = 80;

/// Breaks lines at words; what follows is indented as the text of its line is, behind the names of options.
std::string wrapped(const std::string& help);

/// The figures of call sites that --by knows.
std::vector<std::string> figure_names();
/// The verdicts that --fail-on knows.
std::vector<std::string> verdict_names();

}  // namespace mallard::cli
