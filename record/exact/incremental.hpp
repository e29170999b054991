// SPDX-License-Identifier: Apache-2.0
// Stacks for exact mode: two captures in a row in one thread share most of the root end. Each
// capture keeps the address and value of every memory word that unwinding read; the next one unwinds only
// down to a frame that it meets again, and checks that all words behind it still hold the same values. Equal
// inputs make an equal stack: exact, not a heuristic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "record/site_table.hpp"
#include "unwind/stacks.hpp"

namespace mallard::record {

/// One thread's previous capture. Only its thread touches it, and no signal handler of that thread while a
/// capture is under way. Zero bytes are a valid empty one.
struct StackMemory;
inline constexpr std::size_t kStackMemoryBytes = 39104;  ///< of a StackMemory, in whole cache lines
/// What is read of an empty memory before it is written. \context hot (slow path): its thread
void begin_stack_memory(StackMemory& memory) noexcept;

/// Names a stack: a hash over its return addresses, from the root on. Two of a million stacks have the same
/// one with a probability of 3e-8. 0 = none.
using PathHash = std::uint64_t;

/// The calling thread's stack, by its hash. It is the memory's newest stack now.
/// \return 0: it has to be walked in full, and is not in the memory \context hot: keeps errno
PathHash capture_path(const arch::Caller& caller, StackMemory& memory) noexcept;
/// The call site of the memory's newest stack, made if it is new. \context hot (slow path)
SiteId site_of_path(StackMemory& memory) noexcept;
/// The call site of the calling thread's stack, which is walked in full, without a memory. \context hot (slow
/// path): any thread, signal handlers; keeps errno
SiteId capture_in_full(const arch::Caller& caller) noexcept;

/// The call site of a stack, made if it is new.
/// \param memory  of the calling thread; nullptr: unwind all of it (a signal handler within a capture)
/// \context hot: any thread, signal handlers; keeps errno
SiteId capture_site(const arch::Caller& caller, StackMemory* memory) noexcept;

/// Figures that each thread counts for itself and adds up now and then: some hundreds per thread may be
/// missing.
struct IncrementalStats {
  std::uint64_t captured;  ///< stacks
  std::uint64_t joined;    ///< captures that met the previous one of their thread
  std::uint64_t walked;    ///< frames that were unwound, where no full walk was needed
  std::uint64_t in_full;   ///< stacks that needed a full walk: foreign stacks, frames that no rule fits
};
IncrementalStats incremental_stats() noexcept;

}  // namespace mallard::record
