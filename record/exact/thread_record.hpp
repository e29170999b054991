// SPDX-License-Identifier: Apache-2.0
// What a thread counts for itself in exact mode: its newest counts of the rows and sites that it uses most,
// in two direct-mapped caches; an entry that makes room is added to the row's or site's own counts. The
// owner writes with plain stores; a reader adds the entries to the tables' counts, and each entry's version
// tells it when one moved.
//
// A record belongs to a thread pointer. No destructor runs when a thread ends: a new thread with the same
// pointer takes the record over, and one whose memory is gone may be taken by anybody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/unlocked.hpp"
#include "base/attributes.hpp"
#include "base/lock.hpp"
#include "record/exact/counts.hpp"
#include "record/exact/incremental.hpp"
#include "record/thread_state.hpp"

namespace mallard::record {

inline constexpr std::uint32_t kMaxThreadRecords = 4096;
inline constexpr std::uint32_t kCountEntries = 512, kSiteEntries = 256;
inline constexpr unsigned kFinderBits = 9;
/// A thread that is further off than this adds its live bytes to the process's and the site's at once: the
/// peaks of what several threads use are this exact, for each thread.
inline constexpr std::int64_t kMostUnseenBytes = 64 * 1024;

using OwnCount = std::atomic<std::uint64_t>;  ///< one writer

/// Adds to a count that the calling thread alone writes: nothing is lost to a signal handler that counts,
/// too.
template <typename T>
inline void add_own(std::atomic<T>& own, T value) noexcept {
  arch::add_unlocked(own, value);
}

struct alignas(64) CountEntry {
  std::atomic<std::uint32_t> version;  ///< odd while the entry moves
  std::atomic<std::uint32_t> row;      ///< 0 = empty
  std::uint32_t site;                  ///< the row's, for the owner
  RangeId range;
  OwnCount allocated_bytes, allocated_count, freed_bytes, freed_count, temporary_count;
  std::uint64_t range_begins;  ///< range_begin(range)
};
static_assert(sizeof(CountEntry) == 64);

/// Live bytes since the last time that they were added to the site's, or to the process's.
struct SiteEntry {
  std::atomic<std::uint32_t> site;  ///< + 1; 0 = empty
  std::atomic<std::int64_t> delta, most;
  OwnCount largest_bytes;  ///< of one block
};
static_assert(sizeof(SiteEntry) == 32);

/// The row of a stack and a size range: the low bits of the key of both, which name the place in the finder
/// by its high bits, and the row. 0 = empty. One key in 2^42 passes for another one in its place.
using FoundRow = std::uint64_t;
inline constexpr unsigned kFoundRowBits = 22;
constexpr std::size_t place_in_finder(std::uint64_t key) noexcept { return key >> (64 - kFinderBits); }
static_assert(kMaxCountRows <= 1u << kFoundRowBits);

/// A record follows its thread's stack memory. Both begin so that what every thread uses takes few pages: the
/// last new frames lie on one with the first counts, and the finder is one.
inline constexpr std::size_t kStackMemoryAt = 3072, kRecordAt = kStackMemoryAt + kStackMemoryBytes;

struct alignas(64) ThreadRecord {
  std::atomic<std::uint32_t> epoch;        ///< of the counts
  Lock lock;                               ///< held while entries move
  std::atomic<std::uintptr_t> last_block;  ///< newest block of this thread; 0 = it is freed already
  std::atomic<std::int64_t> delta, most;   ///< of the process, counted as in SiteEntry
  OwnCount unknown_frees;
  CountEntry counts[kCountEntries];
  char unused[kPageBytes - (kRecordAt + 64) % kPageBytes];
  FoundRow finder[1 << kFinderBits];
  SiteEntry sites[kSiteEntries];
};
static_assert((kRecordAt + offsetof(ThreadRecord, finder)) % kPageBytes == 0);

/// Odd while the books are on; records of another epoch count nothing. exact_begin() and exact_end() move it
/// on.
extern std::atomic<std::uint32_t> g_exact_epoch;

/// Reserves the records. \return false if the kernel gave no address space \context init
bool thread_records_init() noexcept;
/// Gives them back. \context where nothing is booked yet
void thread_records_release() noexcept;
/// The calling thread's record, with counts of this epoch. \return nullptr if there is no room for one more
/// \context hot (slow path)
ThreadRecord* find_thread_record(std::uint32_t epoch) noexcept;
/// The stack memory of the record's thread.
inline StackMemory* stack_memory_of(ThreadRecord* record) noexcept {
  return reinterpret_cast<StackMemory*>(reinterpret_cast<char*>(record) - kStackMemoryBytes);
}

/// The entry of a row or site; another one's makes room. \context hot: the owner
CountEntry& replace_count_entry(ThreadRecord& record, std::uint32_t row) noexcept;
SiteEntry& replace_site_entry(ThreadRecord& record, std::uint32_t site) noexcept;
inline CountEntry& count_entry(ThreadRecord& record, std::uint32_t row) noexcept {
  CountEntry& entry = record.counts[row % kCountEntries];
  if (MALLARD_LIKELY(entry.row.load(std::memory_order_relaxed) == row)) return entry;
  return replace_count_entry(record, row);
}
inline SiteEntry& site_entry(ThreadRecord& record, std::uint32_t site) noexcept {
  SiteEntry& entry = record.sites[site % kSiteEntries];
  if (MALLARD_LIKELY(entry.site.load(std::memory_order_relaxed) == site + 1)) return entry;
  return replace_site_entry(record, site);
}

/// Writes to the entries of a row that the thread has not counted yet, without changing them. Were they read
/// first, the kernel would map its page of zeros, and stop all cores that run the process to put another page
/// in its place. \context hot (slow path): the owner
inline void write_first(ThreadRecord& record, std::uint32_t row) noexcept {
  add_own(record.counts[row % kCountEntries].allocated_bytes, std::uint64_t{0});
  add_own(record.sites[count_row_at(row).site % kSiteEntries].largest_bytes, std::uint64_t{0});
}

/// Become copies of another process's, with their epoch. \context offline
bool thread_records_adopt(const OtherParts& parts) noexcept;

std::uint32_t thread_records_end() noexcept;
ThreadRecord& thread_record_at(std::uint32_t index) noexcept;
std::uint64_t threads_without_record() noexcept;  ///< threads that found no room
std::uint64_t thread_records_own_bytes() noexcept;

/// Holds every record's lock, so that no entry is on the move. \return how many, for the parent's end of it
std::uint32_t thread_records_before_fork() noexcept;
void thread_records_after_fork_in_parent(std::uint32_t locked) noexcept;
/// Adds up what was counted by threads that are no more.
void thread_records_after_fork_in_child() noexcept;

}  // namespace mallard::record
