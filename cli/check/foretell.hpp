// SPDX-License-Identifier: Apache-2.0
// Foretells what ALLOC_EMBEDDED=redirect and =observe would do with a program: by the very code that does it.
#pragma once

#include <string>
#include <vector>

#include "base/options.hpp"
#include "cli/check/findings.hpp"

namespace mallard::cli {

/// Adds what would become of the allocator inside to the findings about a program, if there is one inside.
/// \param path   of the program's file, for opening
/// \param asked  what the program will run with: an allocator that is taken over or observed is then no finding
void add_takeover(const std::string& path, EmbeddedAction asked, std::vector<Finding>* findings);

}  // namespace mallard::cli
