// SPDX-License-Identifier: Apache-2.0
// Who answers the program's calls, and what a report may ask of it.
#pragma once

#include <cstdint>
#include <string_view>

#include "backends/backend.hpp"
#include "base/options.hpp"

namespace mallard {
class Arena;
}

namespace mallard::report {

struct Memory;

/// Who answers the program's calls, as lifecycle found out.
struct Served {
  const backends::Backend* backend = nullptr;
  bool bypassed = false;       ///< malloc belongs to an object in front of us
  bool stepped_aside = false;  ///< to a sanitizer
  std::string_view bypass_owner;
  Mode (*mode)() = nullptr;            ///< in force
  const char* (*why_off)() = nullptr;  ///< one clause, where that is off; may be nullptr
  /// \param why_not  one clause, if it fails and returns false \context reporter
  bool (*switch_mode)(Mode to, const char** why_not) = nullptr;
  bool (*is_timing)() = nullptr;  ///< whether calls are timed
  /// Begins or ends that; as switch_mode. \context reporter
  bool (*switch_timing)(bool on, const char** why_not) = nullptr;
  /// An address in the reporter thread's stack; 0 = there is no such thread.
  std::uintptr_t reporter_stack = 0;
  /// Where the process is not our own: finds out whose heaps lie in the memory that was read, makes them its
  /// heap, and `*backend` what asks all of them. \context reporter
  void (*claim_heaps)(Arena& arena, Memory* memory) = nullptr;
};

}  // namespace mallard::report
