// SPDX-License-Identifier: Apache-2.0
// The books of exact mode: every block is booked, none is estimated. Which block belongs to which call site
// stands in a shadow of the address space (shadow.hpp); counts are kept per call site and size range
// (counts.hpp), by each thread for itself (thread_record.hpp), and added up when they are read. Blocks get
// no header. Sampling goes on underneath, so that its books are whole when exact mode is switched off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "record/site_table.hpp"
#include "unwind/stacks.hpp"

namespace mallard::record {

/// What the books hold about a block, so that realloc can put it back.
struct ExactBlock {
  SiteId site;
  std::uint32_t
      row;  ///< count of its call site and size range (counts.hpp); 0 = the block is not on the books
  std::uint64_t asked_bytes;
  bool temporary;  ///< this free made it one
};

/// Reserves address space. \return false if the kernel gave none: exact mode cannot be used, the host goes on
/// \context init, reporter
bool exact_prepare() noexcept;
/// Begins empty books: blocks that live now were allocated before, and stay unknown. The hot exports must not
/// yet call the functions below. \context init, reporter
/// \param with_the_process  nothing has been allocated yet, or next to nothing: no live block is older
void exact_begin(bool with_the_process = false) noexcept;
bool exact_is_on() noexcept;
bool exact_since_start() noexcept;  ///< the books began with the process
/// The hot exports no longer call the functions below: figures stay as they are, until the next begin.
void exact_end() noexcept;
/// Become a copy of another process's books, but for the blocks, which are read when they are asked for.
/// \param unsure  rows whose counts may be off by what a thread counted meanwhile \context offline
bool exact_adopt(const OtherParts& parts, std::uint64_t* unsure) noexcept;
/// When the books began, CLOCK_MONOTONIC; 0 = never.
std::uint64_t exact_since_ns() noexcept;

/// Books a block that now belongs to the program. \context hot: any thread, signal handlers; keeps errno
void exact_alloc(const void* block, std::size_t asked_bytes, const arch::Caller& caller) noexcept;
/// Takes a block off the books, before it is freed or moved. \return row 0 if it was not on them
/// \context hot; keeps errno
ExactBlock exact_free(const void* block) noexcept;
/// Takes a block off the books that will not come back. \context hot; keeps errno
void exact_release(const void* block) noexcept;
/// The block was not moved after all: back on the books as it was, as if exact_free had not been called.
/// \context hot; keeps errno
void exact_restore(const void* block, const ExactBlock& saved) noexcept;

// ---- reading. Other threads go on: a sum is that of a moment for each of its parts. Context: reporter.

/// What was counted since exact_begin(), in bytes as requested.
struct ExactCounts {
  std::uint64_t allocated_bytes, allocated_count;
  std::uint64_t freed_bytes, freed_count;  ///< of those; live = allocated - freed
  std::uint64_t temporary_count;           ///< freed by the thread that allocated, before its next allocation
  std::uint64_t peak_bytes;                ///< most that was live at one time
  std::uint64_t at_peak_bytes;             ///< of a site: live when most was live in the process
  std::uint64_t largest_bytes;
};

/// What was lost or odd. Printed in every exact report, also when 0.
struct ExactTrouble {
  std::uint64_t unknown_frees;  ///< blocks allocated before the books began, or by others
  std::uint64_t missed_frees;   ///< blocks that came again although their free was not seen
  std::uint64_t unbooked;       ///< blocks for which there was no memory in the books
  std::uint64_t
      unsure_peak_bytes;  ///< threads keep their newest counts to themselves: the peaks may be off by this
};

/// Sizes of one call site's blocks: `from_bytes` to `to_bytes`, both included.
struct ExactSizes {
  std::uint64_t from_bytes, to_bytes;
  std::uint64_t allocated_count, live_count;
};

/// When most was live in the process, as far as threads have told: they keep up to 64 KiB to themselves, for
/// each site, and so the sites' bytes at the peak may be off by as much.
Peak exact_peak() noexcept;
/// Sums by call site, `by_site` indexed by SiteId; what finds no room is left out. \return the process's
ExactCounts exact_read(std::span<ExactCounts> by_site) noexcept;
ExactTrouble exact_trouble() noexcept;
/// The size ranges that the site used, ascending. \return how many there are; at most sizes.size() are
/// written
std::size_t exact_sizes(SiteId site, std::span<ExactSizes> sizes) noexcept;

struct ExactLive {
  std::uintptr_t begin;
  std::uint64_t asked_bytes;
  SiteId site;
};
/// Calls `visit` for every live block that begins in [begin, end), ascending. Blocks that come or go
/// meanwhile may be left out or be there although they are gone.
void exact_for_each_live(std::uintptr_t begin, std::uintptr_t end,
                         void (*visit)(const ExactLive&, void* opaque), void* opaque) noexcept;

std::uint64_t exact_own_bytes() noexcept;  ///< resident memory of these books \context reporter

/// Hold the exact books around a fork, while record::recording_is_locked_for_fork(): neither is called where
/// a handler forks that interrupted recording. The child calls the second, too.
void exact_before_fork() noexcept;
void exact_after_fork_in_parent() noexcept;
/// \param is_recorded  what record::after_fork_in_child() returned
void exact_after_fork_in_child(bool is_recorded) noexcept;

}  // namespace mallard::record
