// SPDX-License-Identifier: Apache-2.0
// A futex mutex: a waiter sleeps, so that a real-time thread cannot spin a preempted holder out. Locks of
// recording are held for a few dozen instructions, now and then an mprotect, and never while a backend, the
// loader or the host's code runs; those of reports and modes may be held for long.
//
// The child of a fork waits for no lock of its parent's threads: each lock remembers the process that took
// it, as a number that fork moves on, and one that was taken before the fork counts as free. So there is no
// list of locks to renew, and none can be left out. What a lock guards may be half written then, unless the thread
// that forks has taken the lock: see record::before_fork(), or was_left_behind().
#pragma once

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

#include "base/os.hpp"
#include "base/times.hpp"

namespace mallard {

/// Counts the forks that led to this process.
extern std::atomic<std::uint32_t> fork_generation;

class Lock {
 public:
  constexpr Lock() noexcept = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  /// Renews every lock. Called once, before any of them is used. \context child of a fork
  static void after_fork_in_child() noexcept { fork_generation.fetch_add(1, std::memory_order_relaxed); }

  /// Whether a thread of this process holds it, or did a moment ago.
  bool is_held() const noexcept { return is_held(word_.load(std::memory_order_acquire)); }

  /// Whether a thread of the parent held it at the fork, and nobody has taken it since.
  bool was_left_behind() const noexcept {
    const std::uint32_t word = word_.load(std::memory_order_acquire);
    return word != kFree && !is_held(word);
  }

  bool try_lock() noexcept {
    std::uint32_t before = kFree;
    return word_.compare_exchange_strong(before, word_of(kHeld), std::memory_order_acquire) ||
           (!is_held(before) &&
            word_.compare_exchange_strong(before, word_of(kHeld), std::memory_order_acquire));
  }

  void lock() noexcept {
    if (try_lock()) return;
    // kContended tells the holder to wake somebody; pairs with the exchange in unlock().
    const std::uint32_t contended = word_of(kContended);
    while (is_held(word_.exchange(contended, std::memory_order_acquire)))
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAIT_PRIVATE, contended);
  }

  /// \return false if the lock was not free within `ns` nanoseconds
  bool try_lock_for(std::uint64_t ns) noexcept {
    if (try_lock()) return true;
    const std::uint64_t deadline = os::monotonic_ns() + ns;
    const std::uint32_t contended = word_of(kContended);
    while (is_held(word_.exchange(contended, std::memory_order_acquire))) {
      const std::uint64_t now = os::monotonic_ns();
      if (now >= deadline) return false;
      const timespec left = timespec_of(deadline - now);
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAIT_PRIVATE, contended, os::arg(&left));
    }
    return true;
  }

  void unlock() noexcept {
    if ((word_.exchange(kFree, std::memory_order_release) & kStateBits) == kContended)
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAKE_PRIVATE, 1);
  }

 private:
  // A word is a state in the lower bits and the generation of the process in the others; a free one is 0.
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kContended = 2, kStateBits = 3;
  static std::uint32_t word_of(std::uint32_t state) noexcept {
    return fork_generation.load(std::memory_order_relaxed) * (kStateBits + 1) + state;
  }
  static bool is_held(std::uint32_t word) noexcept {
    return word != kFree && (word & ~kStateBits) == word_of(kFree);
  }

  std::atomic<std::uint32_t> word_{kFree};
};

class [[nodiscard]] LockGuard {
 public:
  explicit LockGuard(Lock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~LockGuard() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace mallard
