// SPDX-License-Identifier: Apache-2.0
// Blocks of another process that nothing in it leads to, in several looks some time apart, and that nobody
// changed between them. Context: offline, one process at a time.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/model/lost.hpp"

namespace mallard::outside {

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

/// \param again_ns  from the end of one look to the next; 0: the process does not run, one look is enough
/// \param arena     what `out` points to lives there
void find_lost_blocks(Arena& arena, const ProcessMemory& process, const Threads& threads,
                      std::uint64_t again_ns, report::LostBlocks* out) noexcept;

}  // namespace mallard::outside
