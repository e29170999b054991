// SPDX-License-Identifier: Apache-2.0
// Pauses between questions about the address space that are asked in a loop. A call holds its lock for
// reading, and a reader that comes back at once overtakes a writer (a host that maps memory) for up to two
// ticks.
#pragma once

#include <cstdint>

#include "base/os.hpp"

namespace mallard {

/// Lets the host have the lock of the address space now and then. docs/decisions.md has the figures.
class Pauses {
 public:
  /// \param most_ns work between two rests; a host may have to wait for as long
  explicit constexpr Pauses(std::uint64_t most_ns) noexcept : most_ns_(most_ns) {}

  /// Rests if the last rest is long ago. \context reporter
  void after_a_call() noexcept {
    if (os::monotonic_ns() - last_ns_ < most_ns_) return;
    const struct { std::uint64_t seconds, nanoseconds; } pause{0, kPauseNs};
    os::call(SYS_nanosleep, os::arg(&pause));
    last_ns_ = os::monotonic_ns();
  }

 private:
  static constexpr std::uint64_t kPauseNs = 50'000;
  std::uint64_t most_ns_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace mallard
