// SPDX-License-Identifier: Apache-2.0
// The allocator inside a running process's executable, to whose entry points jumps are written: found out from its file,
// and put beside its code, before any thread is stopped for it. What is written where stands in the process, beside that
// code: detaching reads it there, and needs no plan.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attach/door.hpp"
#include "cli/attach/borrowed_thread.hpp"
#include "cli/attach/standstill.hpp"
#include "cli/process/memory_file.hpp"
#include "inside/plan.hpp"

namespace mallard::cli {

class OwnAllocator {
 public:
  /// Reads the executable of the process. \throws Error if it has no such mapping
  explicit OwnAllocator(int pid);

  /// Whether there is an allocator in it whose entry points are known.
  bool is_there() const { return plan_->answer != inside::TakeoverAnswer::kNothing; }
  /// Whether it can be watched.
  bool is_possible() const { return plan_->answer == inside::TakeoverAnswer::kPossible && entry_points() > 0; }
  /// Whether malloc is among them, which other objects of the process then call, too.
  bool has_malloc() const { return has_malloc_; }
  std::uint32_t entry_points() const;
  std::string kinds() const;     ///< "mimalloc and its own malloc"
  std::string why_not() const { return std::string(plan_->why.view()); }
  std::string next() const { return std::string(plan_->next.view()); }
  /// Its functions, in the process: a thread in there may hold its locks.
  std::vector<CodeSpan> functions() const;
  /// Whether functions of it may have no name.
  bool is_stripped() const { return !plan_->has_symbol_table; }

  /// A room for what is put beside the code: address 0 = there is none within reach.
  CodeSpan room() const;
  /// Fills it in. \return false, with the reason in why_not()
  bool fill(const MemoryFile& memory, CodeSpan room, const inside::Watchers& watchers) const;

 private:
  bool refuse(const char* why) const;
  std::uintptr_t lowest() const;
  std::uintptr_t highest() const;
  std::size_t bytes() const;

  int pid_;
  std::uintptr_t bias_ = 0;
  bool has_malloc_ = false;
  std::unique_ptr<inside::TakeoverPlan> plan_;
};

/// A few bytes of the program's code, which say something else while it is watched.
struct CodeChange {
  static constexpr std::size_t kMost = 8;
  std::uint64_t at;
  std::uint8_t bytes;
  std::uint8_t is_entry;  ///< several instructions stand there in the program's own code
  unsigned char own[kMost], watched[kMost];
};

/// What stands at the begin of that room: mark, and how many changes follow.
struct RoomHeader {
  char mark[24];
  std::uint64_t bytes;  ///< of this structure and one change: another value is another build
  std::uint32_t changes, entry_points;
};
inline constexpr char kRoomMark[24] = "mallard's watch: 1";

/// Whether it is there; not where this command was ended before it had written that.
bool is_filled(const MemoryFile& memory, std::uint64_t room);

enum class Lead { kToWatchers, kBack };

/// Writes all of the changes that stand at `room`, or none, while all threads stand.
/// \return empty, or why nothing was changed, a clause
std::string lead(int pid, pid_t borrowed, const MemoryFile& memory, std::uint64_t room, Lead where);

}  // namespace mallard::cli
