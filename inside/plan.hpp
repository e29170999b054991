// SPDX-License-Identifier: Apache-2.0
// Whether an executable's own allocator can be taken over, and where its entry points are: read from the
// file alone, so that the library, before it changes anything, and `mallard check` come to the same answer.
#pragma once

#include "arch/instructions.hpp"
#include "base/options.hpp"
#include "base/text.hpp"
#include "inside/block_calls.hpp"
#include "inside/entry_points.hpp"

namespace mallard::inside {

using arch::kJumpBytes;  ///< of the jump that is written over the beginning of an entry

struct TakeoverEntry {
  std::uint64_t address;  ///< where the jump goes, as the file counts; behind a landing pad if there is one
  std::string_view target;
  EmbeddedKind kind;
  bool drops_first;
  BlockCall call;
  /// That a jump displaces; 0 = none is written: a call that is observed only if it has to do with blocks.
  std::uint8_t displaced;
  unsigned char bytes[arch::kMostDisplacedBytes];  ///< that the file has there
  bool has_pad;  ///< a landing pad stands before `address`
};

struct CodeRange {
  std::uint64_t begin, end;
};

/// A branch of the allocator's own code to an entry, which an observer is not to see.
struct InnerBranch {
  std::uint64_t distance_at;  ///< address of the four bytes that say where it leads
  std::uint32_t distance;     ///< that the file has there
  std::uint16_t entry;        ///< its number
};

/// Functions of the allocator that a report calls; kept by name, as an entry's target does not tell forms apart.
enum class NamedFunction : std::uint8_t { kMalloc, kFree, kUsableSize, kMallctl };
inline constexpr std::size_t kNamedFunctions = 4;

enum class TakeoverAnswer : std::uint8_t {
  kNothing,   ///< no entry point of a known allocator in the file
  kPossible,  ///< nothing in the file stands in the way
  kRefused,   ///< `why` says what does
};

inline constexpr std::size_t kMaxTakeoverEntries = 256, kMaxInnerBranches = 2048, kMaxOwnRanges = 16384;

struct TakeoverPlan {
  TakeoverAnswer answer = TakeoverAnswer::kNothing;
  std::size_t count = 0;
  TakeoverEntry entries[kMaxTakeoverEntries];
  std::size_t inner_count = 0;
  InnerBranch inner[kMaxInnerBranches];  ///< of a plan to observe
  bool has_kind[3] = {};                 ///< indexed by EmbeddedKind
  std::uint64_t named[kNamedFunctions] = {};      ///< addresses, indexed by NamedFunction; 0 = it has none
  std::string_view prefix;                        ///< of their names: "mi_", "_rjem_", or none
  std::uint64_t code_begin = 0, code_end = 0;     ///< the allocator's functions lie in here
  bool has_symbol_table = false;                  ///< else functions that it does not export have no names
  std::size_t own_count = 0;
  CodeRange own[kMaxOwnRanges];  ///< functions of the allocator, ascending, of a plan that is possible
  FixedText<256> why;     ///< a clause: "mi_heap_new() is called by main"
  FixedText<128> next;    ///< what would help
};

/// "mimalloc", "jemalloc", "its own malloc", or several of them.
void add_kinds(TextBuffer& to, const TakeoverPlan& plan) noexcept;

/// Reads the file behind `fd`, which may be damaged or hostile. \context init, offline: maps memory and gives
/// it back; reads the whole code of the file if it finds an allocator, some 0.2 s for 100 MB
/// \param action  kRedirect or kObserve, which also needs to know what jumps displace
void plan_takeover(int fd, EmbeddedAction action, TakeoverPlan* out) noexcept;

}  // namespace mallard::inside
