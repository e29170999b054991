// SPDX-License-Identifier: Apache-2.0
// An array that grows in place: address space is reserved once, inaccessible, and opened in steps. What is
// not open is neither counted as committed memory nor brought in by a host that calls mlockall. The first
// elements may lie in the array itself: a small process then opens nothing, and its forks copy neither the
// mappings nor the page tables that an open part would be.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/reservation.hpp"

namespace mallard {

/// \tparam kFirst  elements that lie in the array itself
template <typename T, std::size_t kCapacity, std::size_t kFirst = 0>
class GrowingArray {
 public:
  constexpr GrowingArray() noexcept = default;

  /// Takes less where a limit on address space (ulimit -v) is in force: the host is to have that.
  /// The array itself must stay where it is until release().
  /// \return false if the kernel gave no address space \context init
  bool init() noexcept {
    if (!space_.init(os::within_address_limit(kBytes))) return false;
    data_ = static_cast<T*>(static_cast<void*>(space_.data()));
    return true;
  }

  /// Gives the address space back. \context init: nobody uses the array
  void release() noexcept {
    if (data_) space_.release();
    data_ = nullptr;
    open_.store(kFirst, std::memory_order_relaxed);
  }

  /// Opens the array up to `count` elements, which are zero at first. \return false if the kernel refused, or
  /// the program was given what it would need
  /// \context refill
  bool open(std::size_t count) noexcept {
    if (MALLARD_LIKELY(count <= open_.load(std::memory_order_acquire))) return true;
    if (count > kCapacity) return false;
    std::size_t bytes = align_up(count * sizeof(T), kStepBytes);
    if (const std::size_t all = space_.bytes(); bytes > all) bytes = all;
    if (bytes < count * sizeof(T) || !space_.open(bytes)) return false;
    // Two threads at once open the same pages twice, which does no harm: no lock, so that signal handlers
    // may.
    std::size_t now = open_.load(std::memory_order_relaxed);
    while (now < bytes / sizeof(T) &&
           !open_.compare_exchange_weak(now, bytes / sizeof(T), std::memory_order_release)) {
    }
    return true;
  }

  /// Becomes a copy of another process's array, a part (base/parts.hpp), as far as `count` elements.
  /// \return false if that cannot be read, or there is no memory \context offline
  bool adopt(const OtherParts& parts, std::size_t count) noexcept {
    alignas(GrowingArray) char copy[sizeof(GrowingArray)];
    if (!parts.copy_of(*this, copy)) return false;
    GrowingArray& theirs = *reinterpret_cast<GrowingArray*>(copy);
    release();
    if constexpr (kFirst != 0) std::memcpy(static_cast<void*>(first()), theirs.first(), kFirst * sizeof(T));
    if (!theirs.data_ || count <= kFirst) return !theirs.data_ || init();
    const std::size_t open = theirs.open_.load(std::memory_order_relaxed);
    if (count > open) count = open;
    return init() && this->open(count) &&
           parts.copy_in_memory(data_, address_of(theirs.data_), count * sizeof(T));
  }

  T& operator[](std::size_t i) noexcept {
    if constexpr (kFirst != 0)
      if (i < kFirst) return first_.elements[i];
    return data_[i];
  }
  /// Where the elements from kFirst on stand, as if those before stood there, too.
  T* data() noexcept { return data_; }
  /// Where the others stand.
  T* first() noexcept { return first_.elements; }
  static constexpr std::uint32_t first_count() noexcept { return kFirst; }

  /// \return what is in memory of the first `count` elements, in bytes \context reporter
  std::uint64_t resident_bytes(std::size_t count) noexcept {
    if (const std::size_t open = open_.load(std::memory_order_acquire); count > open) count = open;
    const std::size_t in_first = count < kFirst ? count : kFirst;
    return in_first * sizeof(T) +
           (data_ && count > kFirst ? os::resident_bytes(data_, count * sizeof(T)) : 0);
  }
  explicit operator bool() const noexcept { return data_ != nullptr; }
  Reservation& space() noexcept { return space_; }

 private:
  static constexpr std::size_t kStepBytes = 256 * 1024;
  /// Whole huge pages, so that the kernel puts one reservation right beside the other: one mapping.
  static constexpr std::size_t kHugePageBytes = 2 * 1024 * 1024;
  static constexpr std::size_t kBytes = align_up(kCapacity * sizeof(T), kHugePageBytes);

  struct None {
    static constexpr T* elements = nullptr;
  };
  struct First {
    T elements[kFirst ? kFirst : 1];
  };

  T* data_ = nullptr;
  Reservation space_;
  std::atomic<std::size_t> open_{kFirst};
  [[no_unique_address]] std::conditional_t<kFirst != 0, First, None> first_{};
};

}  // namespace mallard
