// SPDX-License-Identifier: Apache-2.0
// Who answers the program's calls, and what a report may ask of it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backends/backend.hpp"
#include "base/options.hpp"
#include "base/os.hpp"

namespace mallard {
class Arena;
}

namespace mallard::report {

struct Memory;

using Census = heaps::CensusResult (*)(const heaps::CensusRequest& request);

/// Who answers the program's calls, as lifecycle found out.
struct Served {
  const backends::Backend* backend = nullptr;
  /// Who answers calls of malloc where `backend` is inside the program and does not: its calls are recorded, too. Its
  /// heap is divided where it is glibc.
  const backends::Backend* beside = nullptr;
  /// The code of a backend inside the program, which has other code in the same object; empty where it has none.
  AddressRange backend_code{};
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
  /// In our own where `beside` is glibc: the census of the backend's heap alone, and what has `*backend` asked by another
  /// one, that of both heaps. \context reporter
  Census own_census = nullptr;
  void (*ask_instead)(Census census) = nullptr;
  /// Where the books were adopted from a process that goes on: reads what counts its work anew.
  void (*look_again)() = nullptr;
  bool is_attached = false;  ///< recorded by what `mallard attach` loaded
  /// Where its books were adopted: an address in its libmallard.so, and one in the object that serves it (0 =
  /// that is built in, or nobody's), and memory that is mallard's own.
  std::uintptr_t own_at = 0, backend_at = 0;
  std::span<const os::OwnRange> own_ranges{};
  std::uint64_t unknown_own_ranges = 0;
};

}  // namespace mallard::report
