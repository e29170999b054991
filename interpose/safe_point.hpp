// SPDX-License-Identifier: Apache-2.0
// Where a signal handler may call pthread_create. It is not async-signal-safe, because the interrupted code
// may hold a lock of libc, of the loader or of the allocator. So: not while the program counter is inside one
// of them, unless the thread only waits there, in a system call that is never made with such a lock held.
#pragma once

#include <ucontext.h>

namespace mallard::interpose {

/// Reads the address ranges of libc, the loader, the backend and mallard. \context init
void safe_point_init() noexcept;

/// \param context  the registers of the interrupted code
/// \context signal handler
bool is_safe_point(const ucontext_t* context) noexcept;

}  // namespace mallard::interpose
