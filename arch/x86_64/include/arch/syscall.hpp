// SPDX-License-Identifier: Apache-2.0
// The instruction that enters the kernel. A port takes a number and up to six arguments, and returns what the
// kernel returned: >= 0, or a negated errno. It must touch neither errno nor TLS, must be no cancellation
// point, and must tell the compiler that memory may have changed.
#pragma once

namespace mallard::arch {

/// \context hot: async-signal-safe
inline long syscall(long number, long a, long b, long c, long d, long e, long f) noexcept {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

}  // namespace mallard::arch
