// SPDX-License-Identifier: Apache-2.0
// What a call of the malloc family has to do in a mode. Whoever takes the calls keeps the word that says it.
#pragma once

#include <cstdint>

#include "base/options.hpp"

namespace mallard::record {

enum Duty : std::uint32_t {
  kCounts = 1,          ///< allocations are counted, and sampled
  kBooksExactly = 2,    ///< allocations go into the exact books
  kUnbooksExactly = 4,  ///< frees come off them: begins before and ends after the booking does
  kTimes = 8,           ///< a share of the calls is timed, in every mode
};

constexpr std::uint32_t duties_of(Mode mode) noexcept {
  switch (mode) {
    case Mode::kOff:
      return 0;
    case Mode::kExact:
      return kCounts | kBooksExactly | kUnbooksExactly;
    case Mode::kSample:
      break;
  }
  return kCounts;
}

/// What is in force while calls pass from one to the other: every block on the books must meet a free that
/// looks for it, so that the duties of frees begin before those of allocations and end after them.
constexpr std::uint32_t duties_between(std::uint32_t before, std::uint32_t after) noexcept {
  return (before & after) | ((before | after) & kUnbooksExactly);
}

}  // namespace mallard::record
