// SPDX-License-Identifier: Apache-2.0
// Nanoseconds, in which times are kept, and the kernel's two fields. \context hot
#pragma once

#include <time.h>

#include <cstdint>

namespace mallard {

inline constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

constexpr std::uint64_t ns_of(const timespec& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
}
constexpr timespec timespec_of(std::uint64_t ns) noexcept {
  return {static_cast<time_t>(ns / kNsPerSecond), static_cast<long>(ns % kNsPerSecond)};
}

}  // namespace mallard
