// SPDX-License-Identifier: Apache-2.0
// Where libc keeps its descriptor of a thread (glibc's struct pthread), as seen from the thread pointer. A
// port whose thread pointer stands behind the descriptor subtracts. The stack of a thread that libc made ends
// below the descriptor and the thread's TLS, which lie in one block of memory with it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mallard::arch {

/// What thread-local variables stand relative to. Read so, because gcc knows a builtin for it from 11 on.
/// \context hot
inline std::uintptr_t thread_pointer() noexcept {
  std::uintptr_t pointer;
  __asm__("mov %%fs:0, %0" : "=r"(pointer));
  return pointer;
}
/// The calling thread's. \context hot
inline std::uintptr_t thread_descriptor() noexcept { return thread_pointer(); }
/// What all versions of the descriptor have at least; a word of it, at kDescriptorSelf, is its own address.
inline constexpr std::size_t kDescriptorBytes = 2304, kDescriptorSelf = 16;
/// Where glibc 2.12 to 2.33 keep the thread's id; the descriptor's size was kDescriptorBytes then. Their libpthread tells
/// debuggers so by symbols that it does not export.
inline constexpr std::size_t kOlderDescriptorId = 720;

/// The word of the calling thread's descriptor that tells glibc before 2.35 whether there are others
/// (tcbhead_t's multiple_threads; the place is older than the stack protector's word behind it, which
/// compilers rely on).
inline int* several_threads_flag() noexcept { return reinterpret_cast<int*>(thread_pointer() + 24); }

}  // namespace mallard::arch
