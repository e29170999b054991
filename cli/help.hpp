// SPDX-License-Identifier: Apache-2.0
// How --help reads: within the columns of a terminal.
#pragma once

#include <string>

namespace mallard::cli {

inline constexpr std::size_t kHelpColumns = 80;

/// Breaks lines at words; what follows is indented as the text of its line is, behind the names of options.
std::string wrapped(const std::string& help);

}  // namespace mallard::cli
