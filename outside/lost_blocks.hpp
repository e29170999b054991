// SPDX-License-Identifier: Apache-2.0
// Blocks of another process that nothing in it leads to, in several looks some time apart, and that nobody
// changed between them. Context: offline, one process at a time.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/model/lost.hpp"
#include "report/model/served.hpp"

namespace mallard::outside {

/// Where the program moves much between two looks, more follow.
inline constexpr int kMostLooks = 5;

/// What is known of a thread: its registers, and the end of its stack, of one moment.
struct ThreadState {
  std::uintptr_t stack_pointer;
  std::span<const std::uint64_t> registers, stack;
};

/// Who tells of the threads.
struct Threads {
  /// Calls visit for each thread whose registers can be had, and fills in the members of `out` that tell of
  /// threads. Called once in each look, when its blocks are known.
  void (*each)(void* self, void (*visit)(const ThreadState& thread, void* opaque), void* opaque,
               report::LostBlocks* out);
  void* self;
};

/// A process with mallard: whose books are known, and whose tables lead to every block and are no roots.
struct LostBooks {
  /// Reads the books as they are now; called before each look, and once when it is known what is lost.
  /// \return who serves the process; nothing if it cannot be read
  const report::Served* (*read)(void* self);
  void* self;
};

/// \param books  nullptr: the process is not recorded
/// \param again_ns  from the end of one look to the next; 0: the process does not run, one look is enough
/// \param arena     what `out` points to lives there
void find_lost_blocks(Arena& arena, const ProcessMemory& process, const Threads& threads,
                      std::uint64_t again_ns, const LostBooks* books, report::LostBlocks* out) noexcept;

}  // namespace mallard::outside
