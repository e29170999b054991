// SPDX-License-Identifier: Apache-2.0
// Whether this process has more than one thread.
#pragma once

// Declared here because older headers lack it.
extern "C" __attribute__((weak)) char mallard_single_threaded __asm__("__libc_single_threaded");

namespace mallard {

/// \return whether there is one thread, as far as libc knows; false where it does not tell (glibc < 2.32)
/// \context hot
inline bool single_threaded() noexcept { return &mallard_single_threaded && mallard_single_threaded; }

}  // namespace mallard
