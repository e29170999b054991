// SPDX-License-Identifier: Apache-2.0
// Part of a string_view. Its own substr() may throw, and what throws does not link into the host side.
#pragma once

#include <cstddef>
#include <string_view>

namespace mallard::report {

constexpr std::string_view piece(std::string_view s, std::size_t at,
                                 std::size_t bytes = std::string_view::npos) noexcept {
  if (at > s.size()) at = s.size();
  return {s.data() + at, bytes < s.size() - at ? bytes : s.size() - at};
}

}  // namespace mallard::report
