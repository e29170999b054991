// SPDX-License-Identifier: Apache-2.0
// What --timeout and --delay take. CLI11's own checks let "nan" pass.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string>

namespace mallard::cli {

/// For CLI11: what is wrong with the word, empty if it is a finite number of seconds above 0.
inline std::string is_wait(const std::string& word) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), seconds);
  if (error == std::errc() && end == word.data() + word.size() && seconds > 0 && std::isfinite(seconds))
    return {};
  return fmt::format("'{}' is no number of seconds above 0", word);
}

}  // namespace mallard::cli
