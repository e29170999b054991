// SPDX-License-Identifier: Apache-2.0
// The registers at the call of an exported function. A port fills them in from within the function: where
// its calls leave the return address in a register, `return_slot` is the address below which the caller's
// frame does not reach, less one word.
#pragma once

#include <cstdint>

namespace mallard::arch {

/// The registers as the caller of an exported function left them.
struct Caller {
  std::uintptr_t pc;           ///< return address into the host
  std::uintptr_t return_slot;  ///< address of the stack word that holds pc; the caller's stack begins above
  std::uintptr_t frame;        ///< the frame pointer, rbp, at the call
};

}  // namespace mallard::arch

/// The Caller of the exported function whose body this stands in. The function must keep a frame pointer,
/// which __builtin_frame_address forces.
#define MALLARD_CALLER()                                                                    \
  ([](std::uintptr_t* fa) noexcept {                                                        \
    return ::mallard::arch::Caller{fa[1], reinterpret_cast<std::uintptr_t>(fa + 1), fa[0]}; \
  }(static_cast<std::uintptr_t*>(__builtin_frame_address(0))))
