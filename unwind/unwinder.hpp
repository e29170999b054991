// SPDX-License-Identifier: Apache-2.0
// libunwind, embedded and hidden, through its interface for *remote* processes: this process is the
// remote one, and every register, memory word and unwind table that libunwind wants goes through our
// accessors. It therefore opens nothing, allocates nothing, changes no signal mask and never faults.
// One lock surrounds all of it; a signal handler that interrupts its holder is turned away.
#pragma once

#include <cstdint>

#include "unwind/rules.hpp"
#include "unwind/stacks.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {

/// \return false if libunwind cannot be set up; then everything below fails \context init
bool unwinder_init() noexcept;

/// Finds the rule at `code`: by cfi.hpp, without a lock; by libunwind where cfi.hpp cannot tell.
/// \return false if libunwind is needed and this thread is inside of it already \context hot (slow path)
bool compile_rule(std::uintptr_t code, const Module& module, Rule* out) noexcept;

/// Lets libunwind step once from `code`, with made-up registers: no stack is read.
/// \return false if this thread is inside of it already \context hot (slow path)
bool rule_by_libunwind(std::uintptr_t code, const Module& module, Rule* out) noexcept;

/// Walks a whole stack by libunwind: slow, but knows all registers and every kind of unwind information.
/// \return frames written; 0 if this thread is inside the unwinder already \context hot (slow path)
int unwind_fully(const Caller& caller, StackReader& stack, std::uintptr_t* pcs, int max,
                 bool* truncated) noexcept;

/// Called by libunwind while it steps: whether the cursor stands at a signal handler's return.
int unwinder_at_signal_frame(void* cursor) noexcept;

std::uint64_t unwinder_own_bytes() noexcept;  ///< memory that libunwind has taken
void unwinder_before_fork() noexcept;
void unwinder_after_fork() noexcept;

}  // namespace mallard::unwind
