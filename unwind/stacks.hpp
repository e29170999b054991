// SPDX-License-Identifier: Apache-2.0
// Call stacks: from the caller of malloc to the root of its thread, return addresses, leaf first.
// What unwinding means is found out once per code address; the answer is a rule of one word (cfi.hpp), and
// walking is a chain of rules over the thread's stack (rules.hpp). What no rule can express goes to
// libunwind as a whole (unwinder.hpp).
#pragma once

#include <cstdint>

#include "arch/caller.hpp"
#include "base/attributes.hpp"
#include "base/parts.hpp"

namespace mallard::unwind {

using arch::Caller;

inline constexpr int kMaxDepth = 256;  ///< frames kept; deeper stacks lose their root end

struct StackStats {
  std::uint64_t captured;           ///< stacks taken
  std::uint64_t by_libunwind;       ///< of them walked by libunwind because no rule fitted
  std::uint64_t truncated;          ///< of them cut at kMaxDepth, or ended early on unreadable memory
  std::uint64_t rules;              ///< code addresses whose rule was found out
  std::uint64_t rules_dropped;      ///< rules that found the table full
  std::uint64_t maps_readings;      ///< how often /proc/self/maps was read to find a thread's stack
  std::uint64_t addresses_dropped;  ///< return addresses that found the table of code addresses full
};

/// Prepares the unwinder. \context init: once, before any capture
void stacks_init() noexcept;

/// Writes up to `max` return addresses, leaf first. Never allocates from a backend, never takes the
/// loader's lock, never faults; keeps errno.
/// \return how many were written; at least 1 (the caller's pc)
/// \context hot (slow path): any thread, signal handlers
int capture_stack(const Caller& caller, std::uintptr_t* pcs, int max) noexcept;

/// A shared object was unloaded: rules of its addresses may be wrong from now on. \context any thread
void on_module_unloaded() noexcept;

StackStats stack_stats() noexcept;
/// Code addresses and counts become copies of another process's. \context offline
bool adopt(const OtherParts& parts) noexcept;
std::uint64_t stacks_own_bytes() noexcept;  ///< what is in memory of it \context reporter

/// Around fork: hold every lock of the stacks, so that the child inherits none in use.
void stacks_before_fork() noexcept;
void stacks_after_fork() noexcept;

}  // namespace mallard::unwind
