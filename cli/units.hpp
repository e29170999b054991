// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.
#pragma once

#include <fmt/format.h>

#include <string>

#include "base/numbers.hpp"

namespace mallard::cli {

/// What one of base/numbers.hpp writes.
template <typename T>
std::string text_of(void (*add)(TextBuffer&, T) noexcept, T value) {
  FixedText<48> text;
  add(text, value);
  return std::string(text.view());
}

/// "1.50 MiB"
inline std::string bytes_text(double bytes) { return text_of(add_bytes, bytes); }
/// "1,234", "12.3 M"
inline std::string count_text(double count) { return text_of(add_count, count); }
inline std::string utc_text(std::uint64_t ns) { return text_of(add_utc, ns); }

/// A change of bytes, with its sign: "+1.50 MiB".
inline std::string change_text(double bytes) {
  return fmt::format("{}{}", bytes < 0 ? "" : "+", bytes_text(bytes));
}

/// "0.3 s", "5 min 12 s": shorter times are not told apart where people wait.
inline std::string duration_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.1f} s", seconds)
                     : text_of(add_duration, static_cast<std::uint64_t>(seconds * 1e9));
}

}  // namespace mallard::cli
