// SPDX-License-Identifier: Apache-2.0
// What the command makes of inside/known_allocators.hpp: sanitizers, and names that matter.
#pragma once

#include <string_view>

#include "inside/known_allocators.hpp"

namespace mallard::cli {

/// A sanitizer's name if a library of that name or a symbol of that name is its runtime, else empty.
std::string_view sanitizer_of_library(std::string_view soname);
std::string_view sanitizer_of_symbol(std::string_view symbol);

/// True if any rule of this command looks at a symbol of this name.
bool is_interesting(std::string_view symbol);

}  // namespace mallard::cli
