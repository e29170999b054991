// SPDX-License-Identifier: Apache-2.0
#include "record/incremental.hpp"

#include "record/thread_state.hpp"

namespace mallard::record {

struct StackMemory {
  std::uint64_t captured;
};

std::size_t stack_memory_bytes() noexcept { return sizeof(StackMemory); }

SiteId capture_site(const Caller& caller, StackMemory* memory) noexcept {
  // A handler that interrupted a capture: the locks of the stacks may be this thread's already.
  if (mallard_thread.inside > 1) return kOverflowSite;
  std::uintptr_t pcs[kMaxDepth];
  const int depth = capture_stack(caller, pcs, kMaxDepth);
  if (memory) ++memory->captured;
  return intern_site(pcs, depth);
}

IncrementalStats incremental_stats() noexcept { return {stack_stats().captured, 0, 0, 0, 0}; }

}  // namespace mallard::record
