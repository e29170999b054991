// SPDX-License-Identifier: Apache-2.0
// The version of an allocator, read from the object that carries it. One reader for the command and the
// report.
#pragma once

#include <string_view>

#include "inside/known_allocators.hpp"
#include "base/text.hpp"

namespace mallard::inside {

/// Appends the version that stands in `bytes`, read-only data of an object that carries `allocator`.
/// \return false if there is none \context reporter, offline
bool version_in_text(const KnownAllocator& allocator, std::string_view bytes, TextBuffer& to) noexcept;

/// Appends the version that mi_version() returns, from the first 10 bytes or more of its code.
bool version_in_code(std::string_view code, TextBuffer& to) noexcept;

}  // namespace mallard::inside
