// SPDX-License-Identifier: Apache-2.0
// For programs that test the books of exact mode alone: stacks are made up, a call site is the caller's pc.
#pragma once

#include "record/exact.hpp"
#include "record/incremental.hpp"
#include "record/thread_state.hpp"

constinit __thread mallard::record::ThreadState mallard_thread = {};

namespace mallard::record {
struct StackMemory {
  std::uint64_t unused;
};
std::size_t stack_memory_bytes() noexcept { return sizeof(StackMemory); }
SiteId capture_site(const Caller& caller, StackMemory*) noexcept {
  return SiteId{static_cast<std::uint32_t>(caller.pc)};
}
}  // namespace mallard::record
