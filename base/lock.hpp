// SPDX-License-Identifier: Apache-2.0
// A futex mutex for the slow paths of recording. Critical sections are a few dozen instructions, now
// and then an mprotect; a waiter sleeps, so that a real-time thread cannot spin a preempted holder out.
// Never held while a backend, libc's loader or the host's code is called.
#pragma once

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

#include "base/os.hpp"

namespace mallard {

class Lock {
 public:
  constexpr Lock() noexcept = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  /// Somebody holds it, or did a moment ago.
  bool is_held() const noexcept { return word_.load(std::memory_order_acquire) != kFree; }

  bool try_lock() noexcept {
    std::uint32_t free = kFree;
    return word_.compare_exchange_strong(free, kHeld, std::memory_order_acquire);
  }

  void lock() noexcept {
    if (try_lock()) return;
    // kContended tells the holder to wake somebody; pairs with the exchange in unlock().
    while (word_.exchange(kContended, std::memory_order_acquire) != kFree)
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAIT_PRIVATE, kContended);
  }

  /// \return false if the lock was not free within `ns` nanoseconds
  bool try_lock_for(std::uint64_t ns) noexcept {
    if (try_lock()) return true;
    const std::uint64_t deadline = os::monotonic_ns() + ns;
    while (word_.exchange(kContended, std::memory_order_acquire) != kFree) {
      const std::uint64_t now = os::monotonic_ns();
      if (now >= deadline) return false;
      constexpr std::uint64_t kSecond = 1'000'000'000;
      const struct {
        std::uint64_t seconds, nanoseconds;
      } left{(deadline - now) / kSecond, (deadline - now) % kSecond};
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAIT_PRIVATE, kContended, os::arg(&left));
    }
    return true;
  }

  void unlock() noexcept {
    if (word_.exchange(kFree, std::memory_order_release) == kContended)
      os::call(SYS_futex, os::arg(&word_), FUTEX_WAKE_PRIVATE, 1);
  }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kContended = 2;
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
