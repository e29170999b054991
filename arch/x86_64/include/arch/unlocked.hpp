// SPDX-License-Identifier: Apache-2.0
// Reading and writing a word in one instruction that no signal handler of the same thread can split, for
// words that no other thread writes meanwhile. They need not lock the bus, which costs ten times as much. A
// port without such an instruction uses the atomic operation of the language.
#pragma once

#include <atomic>
#include <cstdint>

namespace mallard::arch {

/// Adds to a word of 64 bits that the calling thread alone writes. \context hot
template <typename T>
inline void add_unlocked(std::atomic<T>& word, T value) noexcept {
  static_assert(sizeof word == 8);
  __asm__("addq %[value], %[word]" : [word] "+m"(word) : [value] "er"(value) : "cc");
}

/// Replaces 0 by `mine`, in a process of one thread. \return false if the word was not 0 \context hot
inline bool take_unlocked(std::atomic<std::uint32_t>& word, std::uint32_t mine) noexcept {
  bool taken;
  std::uint32_t free = 0;
  __asm__ volatile("cmpxchgl %[mine], %[word]"
                   : "=@ccz"(taken), [word] "+m"(word), "+a"(free)
                   : [mine] "r"(mine)
                   : "memory");
  return taken;
}

}  // namespace mallard::arch
