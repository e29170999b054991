// SPDX-License-Identifier: Apache-2.0
// The books. interpose tells them what the program did; report reads them. Order of booking: allocate, then
// book; unbook, then free; realloc unbooks first and books the outcome, so that an address which another
// thread gets at once is never on the books twice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "record/filter.hpp"
#include "record/live_table.hpp"
#include "record/sampler.hpp"
#include "record/site_table.hpp"
#include "unwind/stacks.hpp"

namespace mallard::record {

/// What was lost or odd, since recording began. Printed in every report, also when 0.
struct Counters {
  std::uint64_t sampled;         ///< samples booked
  std::uint64_t sampled_frees;   ///< samples unbooked
  std::uint64_t dropped_full;    ///< samples lost because the live table was full
  std::uint64_t overflow_sites;  ///< samples booked on the overflow site
  std::uint64_t missed_frees;    ///< samples whose free was not seen; found when the address came again
  std::uint64_t reentrant;       ///< frees of samples inside recording itself, unbooked later or never
  std::uint64_t filter_misses;   ///< frees that the filter sent here although they are no samples
  /// Address space of the tables that the program got when it met its limit: they grow no more.
  std::uint64_t given_back_bytes;
};

/// Reserves the tables and begins recording. `mean_bytes` 0 = do not record.
/// \return false if there was no memory: nothing is recorded, the host goes on \context init
bool start(std::uint64_t mean_bytes, Expected expected) noexcept;
bool is_recording() noexcept;
/// Ends recording: the hot exports no longer come here (mode off), samples are not unbooked any more, and
/// figures mean nothing until resume(). \context reporter
void pause() noexcept;
/// Begins again, or for the first time, with empty books: what lives now was allocated before. Threads that
/// are on their way here since before the pause may add a sample to either.
/// \return false if there was no memory \context reporter
bool resume(std::uint64_t mean_bytes) noexcept;

/// Books a sampled block that now belongs to the program.
/// \param asked_bytes   what the program asked for
/// \param usable_bytes  what the backend gave
/// \context hot (slow path); keeps errno
void on_alloc(const void* block, std::size_t asked_bytes, std::size_t usable_bytes,
              const arch::Caller& caller) noexcept;

/// A block that the filter let through is about to be freed. \return true if it was a sample
/// \context hot (slow path); keeps errno
bool on_free(const void* block) noexcept;

/// A block that the filter let through is about to be moved by realloc: takes it off the books.
/// \return true if it was a sample; *saved then lets on_move_failed put it back
bool on_move(const void* block, LiveBlock* saved) noexcept;
void on_move_failed(const LiveBlock& saved) noexcept;

/// Makes these books a copy of another process's, as they are now; what was on them is forgotten.
/// \param torn  samples left out, because they changed while they were copied \return false: they cannot be
/// read \context offline
bool adopt(const OtherParts& parts, std::uint64_t* torn) noexcept;
/// Reads the counters and what was allocated at the sites anew. \context offline
bool adopt_sums(const OtherParts& parts) noexcept;

Counters counters() noexcept;
std::uint64_t started_ns() noexcept;  ///< when recording began, CLOCK_MONOTONIC
bool began_with_process() noexcept;   ///< false: after resume(); blocks may be older than the books
std::uint64_t forked_ns() noexcept;   ///< when this process was forked off a recorded one; 0 = it was not
std::uint64_t own_bytes() noexcept;   ///< resident memory of the books \context reporter

/// Marks the thread as inside recording until the fork is over, and holds every lock of the tables, so that
/// the child inherits none in use. \return true if they are held, and those of the exact books are to be
bool before_fork() noexcept;
bool recording_is_locked_for_fork() noexcept;
void after_fork_in_parent() noexcept;
/// \return false: a handler forked that had interrupted recording, and this child is not recorded
bool after_fork_in_child() noexcept;

}  // namespace mallard::record
