// SPDX-License-Identifier: Apache-2.0
// An array that grows in place: address space is reserved once, inaccessible, and opened in steps. What is
// not open is neither counted as committed memory nor brought in by a host that calls mlockall.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>

#include "base/attributes.hpp"
#include "base/os.hpp"

namespace mallard {

template <typename T, std::size_t kCapacity>
class GrowingArray {
 public:
  constexpr GrowingArray() noexcept = default;

  /// \return false if the kernel gave no address space \context init
  bool init() noexcept {
    data_ = static_cast<T*>(os::reserve(kBytes));
    return data_ != nullptr;
  }

  /// Gives the address space back. \context init: nobody uses the array
  void release() noexcept {
    if (data_) os::unmap(data_, kBytes);
    data_ = nullptr;
    open_.store(0, std::memory_order_relaxed);
  }

  /// Opens the array up to `count` elements, which are zero at first. \return false if the kernel refused
  /// \context refill
  bool open(std::size_t count) noexcept {
    if (MALLARD_LIKELY(count <= open_.load(std::memory_order_acquire))) return true;
    if (count > kCapacity) return false;
    std::size_t bytes = align_up(count * sizeof(T), kStepBytes);
    if (bytes > kBytes) bytes = kBytes;
    if (!os::protect(data_, bytes, PROT_READ | PROT_WRITE)) return false;
    // Two threads at once open the same pages twice, which does no harm: no lock, so that signal handlers
    // may.
    std::size_t now = open_.load(std::memory_order_relaxed);
    while (now < bytes / sizeof(T) &&
           !open_.compare_exchange_weak(now, bytes / sizeof(T), std::memory_order_release)) {
    }
    return true;
  }

  T& operator[](std::size_t i) noexcept { return data_[i]; }
  T* data() noexcept { return data_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  static constexpr std::size_t kStepBytes = 256 * 1024;
  static constexpr std::size_t kBytes = align_up(kCapacity * sizeof(T), kPageBytes);

  T* data_ = nullptr;
  std::atomic<std::size_t> open_{0};
};

}  // namespace mallard
