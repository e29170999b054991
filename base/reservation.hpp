// SPDX-License-Identifier: Apache-2.0
// Address space that opens from its beginning, step by step, for a table that grows in place. What is not open
// yet can be given back to a program that has met its limit on address space: the table then grows no more.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/os.hpp"
#include "base/parts.hpp"

namespace mallard {

class Reservation {
 public:
  constexpr Reservation() noexcept = default;

  /// Takes address space, inaccessible until open(). The reservation itself must stay where it is until
  /// release(). \param bytes  whole pages \return false if the kernel gave none \context init, refill
  bool init(std::size_t bytes) noexcept;
  /// Gives everything back. \context init: nobody uses the table
  void release() noexcept;
  /// Makes the first `bytes`, whole pages, accessible. Two threads may open the same pages at once.
  /// \return false if it has no more so many, or the kernel refused \context refill: any thread
  bool open(std::size_t bytes) noexcept;
  /// Gives back what has not been opened, for good. \return how many bytes \context refill: any thread
  std::size_t give_back() noexcept;

  char* data() const noexcept { return data_; }
  /// What it still has, opened or not.
  std::size_t bytes() const noexcept { return kPageBytes * end_of(extent_.load(std::memory_order_relaxed)); }
  std::size_t unopened_bytes() const noexcept;

 private:
  // Two numbers of pages, which change in one step: those that threads may open or have opened, and all. So
  // nobody opens what is given back meanwhile.
  using Extent = std::uint64_t;
  static constexpr Extent extent(std::uint64_t claimed, std::uint64_t end) noexcept { return claimed << 32 | end; }
  static constexpr std::size_t claimed_of(Extent e) noexcept { return e >> 32; }
  static constexpr std::size_t end_of(Extent e) noexcept { return e & 0xffffffff; }

  char* data_ = nullptr;
  std::atomic<Extent> extent_{0};
};

/// Gives back what no reservation has opened, where that lets the kernel map `bytes` more, which it has just
/// refused; nothing where no limit is in force. \return whether to ask the kernel again
/// \context refill: any thread; keeps errno
bool give_back_reservations(std::size_t bytes) noexcept;
/// The same where the kernel has refused a mapping by ENOMEM, which has other reasons, too, as that a mapping cannot
/// grow where it is: nothing is given back where `bytes`, what it would have added, can be mapped elsewhere.
bool give_back_for_mapping(std::size_t bytes) noexcept;

/// All that was given back so far.
std::uint64_t given_back_bytes() noexcept;
/// Becomes the figure of another process. \context offline
bool given_back_adopt(const OtherParts& parts) noexcept;

}  // namespace mallard
