// SPDX-License-Identifier: Apache-2.0
// A value that signal handlers read while it is written, without waiting for the writer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace mallard {

/// The value stands twice, and a version says which copy is valid (its lowest bit is the copy's index) and
/// tells a reader of a rewrite. A writer that is cut short, as by a fork of another thread, leaves the valid
/// copy as it was.
template <typename T>
class TwoCopies {
 public:
  constexpr TwoCopies() noexcept = default;

  /// \context any, signal handlers
  T read() const noexcept {
    Words words;
    std::uint32_t before;
    do {
      // Pairs with the store in write(): the copy is whole.
      before = version_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < kWords; ++i)
        words[i] = copies_[before & 1][i].load(std::memory_order_relaxed);
      // Pairs with the fence in write(): who has read a word of a later write sees a later version, too.
      std::atomic_thread_fence(std::memory_order_acquire);
    } while (version_.load(std::memory_order_relaxed) != before);
    T value;
    memcpy(&value, words.data(), sizeof value);
    return value;
  }

  /// \context one thread at a time, with the signals blocked whose handlers write
  void write(const T& value) noexcept {
    Words words;
    memcpy(words.data(), &value, sizeof value);
    const std::uint32_t next = version_.load(std::memory_order_relaxed) + 1;
    // Pairs with the fence in read(): the version that the last write stored comes before the words of this
    // one, which go over the copy that was valid before it.
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < kWords; ++i)
      copies_[next & 1][i].store(words[i], std::memory_order_relaxed);
    version_.store(next, std::memory_order_release);  // pairs with the first load in read()
  }

 private:
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(std::uint64_t) == 0);
  static constexpr std::size_t kWords = sizeof(T) / sizeof(std::uint64_t);
  using Words = std::array<std::uint64_t, kWords>;

  std::array<std::array<std::atomic<std::uint64_t>, kWords>, 2> copies_{};
  std::atomic<std::uint32_t> version_{0};
};

}  // namespace mallard
