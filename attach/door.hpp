// SPDX-License-Identifier: Apache-2.0
// How `mallard attach` talks to libmallard-attach.so in another process: a structure in the object's writable
// data that the command finds by its mark, fills in from outside, and has a borrowed thread act upon.
#pragma once

#include <cstdint>

#include "base/options.hpp"
#include "inside/block_calls.hpp"

namespace mallard {

enum class AttachAction : std::uint32_t {
  kMakeRoom,  ///< maps `code_at`, for what the command writes beside the executable's code
  kRecord,  ///< redirects what is not yet redirected, and records in the mode that is asked for
  kLeave,   ///< ends recording and puts every slot back
};

enum class AttachOutcome : std::uint32_t { kNone, kDone, kRefused };

struct AttachDoor {
  char mark[24];
  std::uint64_t bytes;  ///< of this structure: another value is another build
  void (*control)();    ///< does what `action` asks for
  const inside::Watchers* watchers;  ///< what jumps over the entry points of an allocator may lead to

  // Written by the command, while no other request is under way.
  std::uint64_t code_at, code_bytes;  ///< a room near the executable, for code; 0 = there is none
  char observed[64];                  ///< the executable's own allocator, in words of inside/plan.hpp
  std::uint32_t entry_points;         ///< of the executable's own allocator that lead to the watchers now
  AttachAction action;
  Mode mode;

  // Written by the object.
  AttachOutcome outcome;
  char why[160];            ///< one clause, if it refused
  std::uint32_t is_on;      ///< whether it records, in the process `owner`
  std::uint32_t owner;      ///< as that process sees its id: a forked child has a copy of all this
  std::uint32_t slots;      ///< references that lead to the object now, or led until it left
  std::uint32_t objects;    ///< in which they lie
  std::uint32_t elsewhere;  ///< references by the same names that lead to other functions: left alone
  char allocator[128];      ///< path of the object that has malloc
};
inline constexpr char kDoorMark[24] = "mallard's attach: 1";

}  // namespace mallard
