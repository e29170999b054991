// SPDX-License-Identifier: Apache-2.0
// What the oldest system that the sources are built on lacks (Debian 11: gcc 10, glibc 2.31), as newer ones
// have it.
#pragma once

#include <asm/unistd.h>
#include <malloc.h>
#include <sys/mman.h>

#include <cstddef>

#ifndef SYS_close_range
#define SYS_close_range __NR_close_range
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef SYS_openat2
#define SYS_openat2 __NR_openat2
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#if !__GLIBC_PREREQ(2, 33)
/// glibc's figures of its heap, since 2.33.
struct mallinfo2 {
  std::size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
#endif

namespace mallard {

/// What std::bit_cast does, which libstdc++ has since gcc 11.
template <typename To, typename From>
To bit_cast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace mallard
