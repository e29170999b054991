// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.
#pragma once

#include <fmt/format.h>

#include <string>

#include "base/numbers.hpp"

namespace mallard::cli {

/// "1.50 MiB"
inline std::string bytes_text(double bytes) {
  FixedText<48> text;
  add_bytes(text, bytes);
  return std::string(text.view());
}

/// A change of bytes, with its sign: "+1.50 MiB".
inline std::string change_text(double bytes) {
  return fmt::format("{}{}", bytes < 0 ? "" : "+", bytes_text(bytes));
}

inline std::string utc_text(std::uint64_t ns) {
  FixedText<48> text;
  add_utc(text, ns);
  return std::string(text.view());
}

inline std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
  return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

}  // namespace mallard::cli
