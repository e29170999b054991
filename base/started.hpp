// SPDX-License-Identifier: Apache-2.0
// How the first process of a run is told from its children.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard {

/// `mallard run` sets it to the id of the process that it becomes: what concerns the whole run is said there,
/// and not by every child. With ":12" behind it, the run began with signal 12 blocked, so that a request
/// which comes before the library's handler stands waits for it; the library blanks that and lets the signal
/// in.
inline constexpr char kStartedVariable[] = "ALLOC_STARTED";
inline constexpr char kHeldMark = ':';

/// Takes a decimal number off the front of `text`. \return -1 if none is there
inline std::int64_t take_number(std::string_view* text) noexcept {
  std::int64_t value = -1;
  while (!text->empty() && text->front() >= '0' && text->front() <= '9' && value < 100'000'000) {
    value = (value < 0 ? 0 : value) * 10 + (text->front() - '0');
    text->remove_prefix(1);
  }
  return value;
}

/// What the variable says.
struct Started {
  std::int64_t process_id = -1;  ///< -1: not to be read
  int held_signal = 0;           ///< 0 = none
};
inline Started parse_started(std::string_view text) noexcept {
  Started started;
  started.process_id = take_number(&text);
  if (text.empty() || text.front() != kHeldMark) return started;
  text.remove_prefix(1);
  const std::int64_t signal = take_number(&text);
  if (signal > 0 && signal <= 64) started.held_signal = static_cast<int>(signal);
  return started;
}

}  // namespace mallard
