// SPDX-License-Identifier: Apache-2.0
// What the heap profiler of the built-in jemalloc (MALLOC_CONF=prof:true) asks of libgcc's unwinder, answered by ours.
// libgcc's would bind the library to the glibc of the machine that built it (_dl_find_object, glibc 2.35).
#include <cstdint>

#include "unwind/stacks.hpp"

namespace {
// Values of _Unwind_Reason_Code, which every ABI of C++ shares.
constexpr int kGoOn = 0, kEndOfStack = 5;
}  // namespace

extern "C" {

/// Answers _Unwind_Backtrace: tells `visit` each return address, leaf first, until it wants no more.
/// \param data handed on to `visit` \return _URC_END_OF_STACK \context hot (slow path): any thread
int mallard_unwind_backtrace(int (*visit)(void* frame, void* data), void* data) {
  std::uintptr_t pcs[mallard::unwind::kMaxDepth];
  const int n = mallard::unwind::capture_stack(MALLARD_CALLER(), pcs, mallard::unwind::kMaxDepth);
  for (int i = 0; i < n; ++i)
    if (visit(&pcs[i], data) != kGoOn) break;
  return kEndOfStack;
}

/// Answers _Unwind_GetIP: the return address of a frame that `visit` was given.
std::uintptr_t mallard_unwind_frame_address(const void* frame) { return *static_cast<const std::uintptr_t*>(frame); }
}
