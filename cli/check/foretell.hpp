// SPDX-License-Identifier: Apache-2.0
// Foretells what ALLOC_EMBEDDED=redirect would do with a program: by the very code that does it.
#pragma once

#include <string>
#include <vector>

#include "cli/check/findings.hpp"

namespace mallard::cli {

/// Adds what would become of the allocator inside to the findings about a program, if there is one inside.
/// \param path      of the program's file, for opening
/// \param is_asked  the program will run with ALLOC_EMBEDDED=redirect: an allocator that is taken over is then no finding
void add_takeover(const std::string& path, bool is_asked, std::vector<Finding>* findings);

}  // namespace mallard::cli
