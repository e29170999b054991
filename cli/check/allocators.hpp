// SPDX-License-Identifier: Apache-2.0
// What the command makes of inside/known_allocators.hpp: sanitizers, texts in files.
#pragma once

#include <string>
#include <string_view>

#include "inside/known_allocators.hpp"

namespace mallard::cli {

/// A sanitizer's name if a library of that name or a symbol of that name is its runtime, else empty.
std::string_view sanitizer_of_library(std::string_view soname);
std::string_view sanitizer_of_symbol(std::string_view symbol);

/// True if any rule of this command looks at a symbol of this name.
bool is_interesting(std::string_view symbol);

/// True if every message of `allocator` stands in `bytes` (and it has any).
bool has_messages(const inside::KnownAllocator& allocator, std::string_view bytes);

}  // namespace mallard::cli
