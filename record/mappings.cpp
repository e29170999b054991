// SPDX-License-Identifier: Apache-2.0
#include "record/mappings.hpp"

#include <atomic>

#include "base/lock.hpp"
#include "base/threads.hpp"
#include "base/times.hpp"
#include "record/interval_list.hpp"
#include "record/thread_state.hpp"
#include "unwind/code_addresses.hpp"

namespace mallard::record {
namespace {

// A holder needs about a microsecond; one that was preempted, some milliseconds. Longer waits mean that it is
// gone: a child that was made behind our back while another thread held the lock.
constexpr std::uint64_t kMostWaitNs = 50'000'000;
// Another thread's fork holds the log while the kernel copies page tables.
constexpr std::uint64_t kMostWaitToForkNs = kNsPerSecond;

constinit IntervalList g_list;
MALLARD_FORK_DATA constinit Lock g_lock;
constinit std::atomic<bool> g_holder_is_gone{false};
constinit std::atomic<std::uint64_t> g_unlogged{0};
constinit std::atomic<std::uint64_t> g_lazy_free_bytes{0};
MALLARD_PART(mapping_log, g_list);
MALLARD_PART(unlogged, g_unlogged);
MALLARD_PART(lazy_free_bytes, g_lazy_free_bytes);

void count_unlogged() noexcept { g_unlogged.fetch_add(1, std::memory_order_relaxed); }

bool lock_log(std::uint64_t most_wait_ns) noexcept {
  if (MALLARD_UNLIKELY(g_lock.was_left_behind())) return false;  // the list may be half written
  if (MALLARD_LIKELY(g_lock.try_lock())) return true;
  if (g_holder_is_gone.load(std::memory_order_relaxed)) return false;
  if (g_lock.try_lock_for(most_wait_ns)) return true;
  g_holder_is_gone.store(true, std::memory_order_relaxed);
  return false;
}

/// Holds the log for a scope, if that is possible. A signal handler that interrupted the log in its own
/// thread cannot have it.
class [[nodiscard]] LogGuard {
 public:
  LogGuard() noexcept : held_(mallard_thread.in_mapping_log++ == 0 && lock_log(kMostWaitNs)) {
    if (MALLARD_LIKELY(held_)) g_holder_is_gone.store(false, std::memory_order_relaxed);
    else count_unlogged();
  }
  ~LogGuard() {
    if (held_) g_lock.unlock();
    --mallard_thread.in_mapping_log;
  }
  LogGuard(const LogGuard&) = delete;
  LogGuard& operator=(const LogGuard&) = delete;

  bool held() const noexcept { return held_; }

 private:
  bool held_;
};

}  // namespace

void on_map(std::uintptr_t begin, std::size_t bytes, std::uintptr_t caller) noexcept {
  unwind::on_memory_unmapped(begin, bytes);  // what was there before, if this was MAP_FIXED
  LogGuard log;
  if (log.held() && !g_list.insert({begin, align_up(begin + bytes, kPageBytes), caller})) count_unlogged();
}

void on_unmap(std::uintptr_t begin, std::size_t bytes, RemovedMappings* removed) noexcept {
  if (removed) removed->count = 0;
  unwind::on_memory_unmapped(begin, bytes);
  LogGuard log;
  if (log.held() && !g_list.erase(begin, align_up(begin + bytes, kPageBytes), removed)) count_unlogged();
}

void on_unmap_failed(const RemovedMappings& removed) noexcept {
  if (removed.count == 0) return;
  if (removed.count > RemovedMappings::kMost) count_unlogged();
  LogGuard log;
  if (!log.held()) return;
  for (std::uint32_t i = 0; i < removed.count && i < RemovedMappings::kMost; ++i)
    if (!g_list.insert(removed.intervals[i])) count_unlogged();
}

std::uint32_t copy_mappings(std::uintptr_t from, MappedInterval* to, std::uint32_t room) noexcept {
  LogGuard log;
  return log.held() ? g_list.copy(from, to, room) : 0;
}

void on_lazy_free(std::size_t bytes) noexcept {
  g_lazy_free_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

std::uint64_t lazy_free_bytes() noexcept { return g_lazy_free_bytes.load(std::memory_order_relaxed); }

std::uint64_t unlogged_mappings() noexcept { return g_unlogged.load(std::memory_order_relaxed); }

bool mappings_adopt(const OtherParts& parts) noexcept {
  return parts.adopt(g_unlogged) && parts.adopt(g_lazy_free_bytes) && g_list.adopt(parts);
}

std::uint64_t mappings_own_bytes() noexcept { return g_list.own_bytes(); }

MALLARD_FORK_TEXT void mappings_before_fork() noexcept {
  // A thread that left a handler by siglongjmp while it held the log holds it for good: go on without. Where
  // there is one thread nobody else can hold it, and an unwritten lock costs no page fault.
  if (mallard_thread.in_mapping_log++ == 0)
    mallard_thread.mapping_log_locked_for_fork = !single_threaded() && lock_log(kMostWaitToForkNs);
}

MALLARD_FORK_TEXT void mappings_after_fork_in_parent() noexcept {
  if (--mallard_thread.in_mapping_log > 0 || !mallard_thread.mapping_log_locked_for_fork) return;
  mallard_thread.mapping_log_locked_for_fork = false;
  g_lock.unlock();
}

MALLARD_FORK_TEXT void mappings_after_fork_in_child() noexcept { mappings_after_fork_in_parent(); }

}  // namespace mallard::record
