// SPDX-License-Identifier: Apache-2.0
// What each call site had live when most was live. No sites are copied at a new peak, which only gets a
// number: a site keeps its own figure the first time that it changes after one. So a peak costs a few
// instructions where live sums are changed anyway, no lock, and 16 bytes for each site. Threads that change
// sums at the same time may put what is in their hands on either side of a peak. Context: hot (slow paths),
// any thread, signal handlers.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/os.hpp"

namespace mallard::record {

/// When most was live, so far.
struct Peak {
  std::uint64_t bytes;  ///< 0 = there was none yet
  std::uint64_t at_ns;  ///< CLOCK_MONOTONIC
};

/// The peak of a process's live bytes. All atomic; zero-initialised is empty.
class PeakWatch {
 public:
  /// Which peak is the latest one.
  std::uint64_t number() const noexcept { return number_.load(std::memory_order_acquire); }

  /// Whether so much live memory is a new peak: an eightieth more than the last one, which bounds the number
  /// of peaks by some 2,000.
  bool is_new(std::int64_t live_bytes) const noexcept {
    const std::int64_t last = bytes_.load(std::memory_order_relaxed);
    return live_bytes > last + last / kPart + kLeastStep;
  }

  /// Notes a new peak, once the sums of all sites that led to it are changed.
  void raise(std::int64_t live_bytes) noexcept {
    std::int64_t last = bytes_.load(std::memory_order_relaxed);
    do
      if (!is_new(live_bytes)) return;
    while (!bytes_.compare_exchange_weak(last, live_bytes, std::memory_order_relaxed));
    at_ns_.store(os::monotonic_ns(), std::memory_order_relaxed);
    number_.fetch_add(1, std::memory_order_release);
  }

  Peak read() const noexcept {
    return {static_cast<std::uint64_t>(bytes_.load(std::memory_order_relaxed)),
            at_ns_.load(std::memory_order_relaxed)};
  }
  /// \context reporter, while nobody counts
  void clear() noexcept {
    bytes_.store(0);
    at_ns_.store(0);
    number_.store(0);
  }

 private:
  static constexpr std::int64_t kPart = 80, kLeastStep = 4096;
  std::atomic<std::int64_t> bytes_{0};
  std::atomic<std::uint64_t> at_ns_{0}, number_{0};
};

/// What one site had live at the latest peak.
class AtPeak {
 public:
  /// Before the site's live bytes change. \param peak  PeakWatch::number(), read before
  void keep(std::uint64_t peak, std::int64_t live_bytes) noexcept {
    std::uint64_t now = kept_.load(std::memory_order_relaxed);
    if (now >> kBits >= peak) return;
    const std::uint64_t bytes = live_bytes > 0 ? static_cast<std::uint64_t>(live_bytes) : 0;
    // Another thread that was first keeps the same figure.
    kept_.compare_exchange_strong(now, peak << kBits | (bytes & kMask), std::memory_order_relaxed);
  }

  /// \param live_bytes  of the site now: what it had then, if it has not changed since
  std::uint64_t read(std::uint64_t peak, std::int64_t live_bytes) const noexcept {
    if (peak == 0) return 0;
    const std::uint64_t kept = kept_.load(std::memory_order_relaxed);
    return kept >> kBits >= peak ? kept & kMask : live_bytes > 0 ? static_cast<std::uint64_t>(live_bytes) : 0;
  }
  void clear() noexcept { kept_.store(0, std::memory_order_relaxed); }

 private:
  static constexpr unsigned kBits = 48;
  static constexpr std::uint64_t kMask = (std::uint64_t{1} << kBits) - 1;
  std::atomic<std::uint64_t> kept_{0};  ///< number of the peak, and bytes
};

}  // namespace mallard::record
