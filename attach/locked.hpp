// SPDX-License-Identifier: Apache-2.0
// Work under the loader's lock, which no function of libc's takes for others. dlsym holds it while it calls
// the resolver of an indirect function: this object exports one that does the work.
#pragma once

namespace mallard::attach {

/// Calls work(opaque) while no other thread can load, relocate or unload an object. Waits for the lock: what
/// calls this must be where it could call dlsym. \return false if dlsym did not find the way
bool with_loader_locked(void (*work)(void* opaque), void* opaque) noexcept;

}  // namespace mallard::attach
