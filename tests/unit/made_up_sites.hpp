// SPDX-License-Identifier: Apache-2.0
// For programs that test the books of exact mode alone: stacks are made up, a call site is the caller's pc.
#pragma once

#include "record/exact/exact.hpp"
#include "record/exact/incremental.hpp"
#include "record/thread_state.hpp"

constinit __thread mallard::record::ThreadState mallard_thread = {};

namespace mallard::record {
struct StackMemory {
  SiteId newest;
};
void begin_stack_memory(StackMemory& memory) noexcept { memory = {}; }
SiteId capture_in_full(const unwind::Caller& caller) noexcept {
  return SiteId{static_cast<std::uint32_t>(caller.pc)};
}
SiteId capture_site(const unwind::Caller& caller, StackMemory*) noexcept { return capture_in_full(caller); }
PathHash capture_path(const unwind::Caller& caller, StackMemory& memory) noexcept {
  memory.newest = capture_in_full(caller);
  return (caller.pc + 1) * 0xd6e8feb86659fd93u;
}
SiteId site_of_path(StackMemory& memory) noexcept { return memory.newest; }
}  // namespace mallard::record
