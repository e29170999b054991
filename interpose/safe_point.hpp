// SPDX-License-Identifier: Apache-2.0
// Where a signal handler may call pthread_create. It is not async-signal-safe, because the interrupted code
// may hold a lock of libc, of the loader or of the allocator. So: not while the program counter is inside one
// of them, unless the thread only waits there, in a system call that is never made with such a lock held.
#pragma once

#include <link.h>
#include <ucontext.h>

namespace mallard::interpose {

/// Reads the address ranges of libc, libpthread, the loader, mallard and the backend.
/// \param backend  the object that it lies in; nullptr: it lies in mallard \context init
void safe_point_init(const link_map* backend) noexcept;

/// \param context  the registers of the interrupted code
/// \context signal handler
bool is_safe_point(const ucontext_t* context) noexcept;

}  // namespace mallard::interpose
