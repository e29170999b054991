// SPDX-License-Identifier: Apache-2.0
// What a thread keeps of its previous stack for the next one (incremental.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "record/context_tree.hpp"
#include "record/exact/incremental.hpp"
#include "record/site_table.hpp"
#include "unwind/stacks.hpp"

namespace mallard::record {

/// A word that unwinding read.
struct Input {
  std::uintptr_t address, value;
};

/// Adds the next frame, towards the leaf. For one path it never takes two addresses to one hash.
constexpr PathHash path_below(PathHash path, std::uintptr_t pc) noexcept {
  const std::uint64_t mixed = (path ^ pc) * 0x9e3779b97f4a7c15u;
  return mixed ^ mixed >> 32;
}

/// A frame of the previous capture.
struct OldFrame {
  std::uintptr_t pc, sp, frame;
  PathHash path;
  NodeId node;                   ///< kRoot: not looked for yet
  std::uint32_t inputs : 16;     ///< words read on the way from here to the root: those from this one on
  std::uint32_t uses_frame : 8;  ///< whether an older rule, or this one, uses the frame pointer as it is here
  std::uint32_t exact : 8;       ///< pc is the next instruction itself, not a return address
};
static_assert(sizeof(OldFrame) == 40 && 3 * unwind::kMaxDepth < 1 << 16);

/// Registers of a frame, as the call in it left them.
struct Registers {
  std::uintptr_t pc, sp, frame;
  bool exact;
};

/// A frame that is unwound now, and the step that leads out of it. The entry before it has the registers
/// there: they are what the step read.
struct NewFrame {
  std::uintptr_t pc, sp, frame;
  bool exact, uses_frame, odd;
  std::uintptr_t frame_at;         ///< where the older frame pointer was read; 0 = it stayed
  std::uintptr_t link_at;          ///< if odd: where the older pc was read, 0 = nowhere: a root
  std::uintptr_t other_at, other;  ///< if odd: a word that the CFA was taken from; 0 = none

  void set(const Registers& at) noexcept {
    pc = at.pc;
    sp = at.sp;
    frame = at.frame;
    exact = at.exact;
  }
};

inline constexpr std::uint32_t kInputs = 3 * unwind::kMaxDepth;

/// What short stacks use stands side by side, so that a thread's first capture brings few pages into memory:
/// inputs around the head and the old frames, and new frames around what follows the memory.
struct StackMemory {
  Input inputs[kInputs];  ///< root last
  std::uint64_t epoch;
  std::uintptr_t top;                              ///< of the stack, which every input lies below
  std::int32_t depth;                              ///< frames of the previous capture
  std::uint32_t captured, apart, walked, in_full;  // apart: met nothing of the previous capture
  OldFrame old[unwind::kMaxDepth + 1];             ///< root first, behind one that no stack pointer is above
  NewFrame fresh[unwind::kMaxDepth + 1];           ///< leaf last; only while a capture is under way

  NewFrame* leaf() noexcept { return fresh + unwind::kMaxDepth; }
};
static_assert(sizeof(StackMemory) <= kStackMemoryBytes && kStackMemoryBytes - sizeof(StackMemory) < 64);

}  // namespace mallard::record
