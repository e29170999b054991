// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <string>

namespace mallard::cli {

/// "1.50 MiB"
inline std::string bytes_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  double shown = std::abs(bytes);
  for (; shown >= 1023.95 && unit < 4; ++unit) shown /= 1024;
  return fmt::format("{}{:.{}f} {}", bytes < 0 ? "-" : "", shown,
                     unit == 0    ? 0
                     : shown < 10 ? 2
                                  : 1,
                     kUnits[unit]);
}

/// The same with its sign, as a change.
inline std::string change_text(double bytes) {
  return fmt::format("{}{}", bytes < 0 ? "" : "+", bytes_text(bytes));
}

inline std::string utc_text(std::uint64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return std::strftime(text, sizeof text, "%F %T UTC", &parts) ? text : "";
}

inline std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
  return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

}  // namespace mallard::cli
