// SPDX-License-Identifier: Apache-2.0
// What became of ALLOC_EMBEDDED=redirect or =observe in this process. Written once, before main.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/parts.hpp"

namespace mallard::inside {

enum class TakeoverState : std::uint8_t {
  kNotAsked,
  kNothingInside,  ///< no allocator known by its entry points is in the executable
  kTakenOver,
  kRefused,
  kObserved,  ///< it serves, and its calls are recorded
};

struct TakeoverOutcome {
  TakeoverState state = TakeoverState::kNotAsked;
  char what[64] = "";            ///< "mimalloc and its own malloc"; empty if the file could not be read
  std::size_t entry_points = 0;  ///< taken over, or observed
  char why[256] = "";            ///< a clause, if refused
};

/// \context any, after init
const TakeoverOutcome& takeover_outcome() noexcept;
bool takeover_outcome_adopt(const OtherParts& parts) noexcept;  ///< \context offline
void set_takeover_outcome(const TakeoverOutcome& outcome) noexcept;

}  // namespace mallard::inside
