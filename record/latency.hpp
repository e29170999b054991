// SPDX-License-Identifier: Apache-2.0
// How long calls of the allocator take: a share of all calls, drawn at random, is timed. Times are counted in
// histograms by operation and size; of those that took long the call site is noted as well. A thread counts
// in a record; where there are more threads than records they share them. What threads that have ended have
// counted stays. A forked child begins with nothing counted: the kernel gives it zeros.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "arch/caller.hpp"
#include "record/histogram.hpp"
#include "record/site_table.hpp"
#include "record/thread_state.hpp"

namespace mallard {
class OtherParts;
}

namespace mallard::record {

using KernelClock = int(clockid_t, timespec*);  // as in latency_clock.hpp

enum class Operation : std::uint8_t { kMalloc, kCalloc, kRealloc, kAligned, kFree };
inline constexpr int kOperations = 5;
/// As in reports, indexed by Operation.
inline constexpr std::string_view kOperationNames[] = {"malloc", "calloc", "realloc", "aligned", "free"};

/// Sizes up to these count together, larger ones in a last group. The size of a block that is freed is what
/// the allocator says it to be.
inline constexpr std::uint64_t kSizeGroupEnds[] = {128, 1024, 8192, 65536, 1048576};
inline constexpr int kSizeGroups = 6;
/// Frees whose size was not asked for: asking brings the block's header into the cache, and what comes after
/// is faster. One free of two that are timed is asked.
inline constexpr int kUnknownSize = kSizeGroups;
constexpr int size_group_of(std::uint64_t bytes) noexcept {
  int group = 0;
  while (group < kSizeGroups - 1 && bytes > kSizeGroupEnds[group]) ++group;
  return group;
}

/// Calls from this long on are slow: their call sites are noted. Slower ones are told apart by powers of ten.
inline constexpr std::uint64_t kSlowNs = 1000;
inline constexpr int kSlowSteps = 5;  ///< 1 us, 10 us, 100 us, 1 ms, 10 ms

inline constexpr std::uint32_t kMaxLatencyRecords = 64;
inline constexpr std::uint32_t kMaxSlowSites = 1024;

/// Begins to time one call of `every`, with nothing counted. \param kernel_clock  see latency_clock.hpp
/// \return false if there is no memory for it \context init, reporter
bool latency_begin(std::uint32_t every, KernelClock* kernel_clock) noexcept;
void latency_end() noexcept;
bool latency_is_on() noexcept;
std::uint32_t latency_every() noexcept;
/// Since when what is counted is counted, CLOCK_MONOTONIC.
std::uint64_t latency_since_ns() noexcept;

/// The calling thread has made as many calls as were to go by untimed: draws how many are next.
/// \return whether this call is to be timed \context hot (slow path)
bool latency_draw() noexcept;
/// Counts a call of an exported function that is not hot, as the others are counted by their code.
/// \return whether this call is to be timed \context hot (slow path)
inline bool latency_is_due() noexcept {
  std::uint64_t& left = mallard_thread.calls_left;
  return __builtin_sub_overflow(left, std::uint64_t{1}, &left) && latency_draw();
}
/// Whether the size of a block that is freed now is to be asked. \context hot (slow path)
bool latency_asks_size() noexcept;

/// Counts a timed call. \param before, after  what time_before() and time_after() gave
/// \param group  of the size, or kUnknownSize \context hot (slow path); keeps errno
void latency_note(Operation operation, int group, std::uint64_t before, std::uint64_t after,
                  const arch::Caller& caller) noexcept;

/// Times of one operation and one size group.
struct LatencyCounts {
  std::uint64_t buckets[kBuckets];
  std::uint64_t most_ticks;  ///< the longest
};
/// Adds what all threads have counted. \context reporter
void latency_add(Operation operation, int group, LatencyCounts* to) noexcept;

/// Slow calls of one operation from one call site. Without a site: none was noted (mode off, a table full).
struct SlowSite {
  Operation operation;
  bool has_site;
  SiteId site;
  std::uint64_t calls[kSlowSteps];  ///< that took 1 us to 10 us, and so on; the last one: 10 ms and more
  std::uint64_t ticks, most_ticks;
};
/// \return how many were written to `to` \context reporter
std::uint32_t latency_slow_sites(SlowSite* to, std::uint32_t room) noexcept;

/// Timed calls whose clock went backwards, which are not counted. \context reporter
std::uint64_t latency_went_back() noexcept;
std::uint64_t latency_own_bytes() noexcept;  ///< what is in memory of it \context reporter

/// Those of another process become ours. \return false if they cannot be read \context offline
bool latency_adopt(const OtherParts& parts) noexcept;

/// The memory begins at zeros, where the kernel has not seen to that.
void latency_after_fork_in_child(std::uint64_t forked_ns) noexcept;

/// The site of a call. \return false where none can be noted now \context hot (slow path); keeps errno
bool site_of_call(const arch::Caller& caller, SiteId* site) noexcept;

}  // namespace mallard::record
