// SPDX-License-Identifier: Apache-2.0
// Whether an executable's own allocator can be taken over, and where its entry points are: read from the
// file alone, so that the library, before it changes anything, and `mallard check` come to the same answer.
#pragma once

#include "arch/code.hpp"
#include "base/text.hpp"
#include "inside/entry_points.hpp"

namespace mallard::inside {

using arch::kJumpBytes;  ///< of the jump that is written over the beginning of an entry

struct TakeoverEntry {
  std::uint64_t address;  ///< where the jump goes, as the file counts; behind a landing pad if there is one
  std::string_view target;
  EmbeddedKind kind;
  bool drops_first;
  unsigned char bytes[kJumpBytes];  ///< that the file has there
};

enum class TakeoverAnswer : std::uint8_t {
  kNothing,   ///< no entry point of a known allocator in the file
  kPossible,  ///< nothing in the file stands in the way
  kRefused,   ///< `why` says what does
};

inline constexpr std::size_t kMaxTakeoverEntries = 256;

struct TakeoverPlan {
  TakeoverAnswer answer = TakeoverAnswer::kNothing;
  std::size_t count = 0;
  TakeoverEntry entries[kMaxTakeoverEntries];
  bool has_kind[3] = {};  ///< indexed by EmbeddedKind
  FixedText<256> why;     ///< a clause: "mi_heap_new() is called by main"
  FixedText<128> next;    ///< what would help
};

/// "mimalloc", "jemalloc", "its own malloc", or several of them.
void add_kinds(TextBuffer& to, const TakeoverPlan& plan) noexcept;

/// Reads the file behind `fd`, which may be damaged or hostile. \context init, offline: maps memory and gives
/// it back; reads the whole code of the file if it finds an allocator, some 0.2 s for 100 MB
void plan_takeover(int fd, TakeoverPlan* out) noexcept;

}  // namespace mallard::inside
