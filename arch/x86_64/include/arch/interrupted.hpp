// SPDX-License-Identifier: Apache-2.0
// Where a signal handler interrupted its thread: the code address, and the system call if the thread was in
// one. A port reads both from what the kernel gives to handlers.
#pragma once

#include <errno.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>

namespace mallard::arch {

inline std::uintptr_t interrupted_pc(const ucontext_t* context) noexcept {
  return static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
}

struct InterruptedCall {
  enum class Kind : std::uint8_t {
    kNone,       ///< the thread was in no system call
    kRestarts,   ///< the call begins again once the handler returns
    kAbandoned,  ///< the call fails with EINTR: its number is lost, and the arguments may be anything
    kReturned,   ///< the call has come to its end, and the thread has run no instruction since
  };
  Kind kind;
  long number;       ///< of a call that restarts or has returned
  long second, third;  ///< arguments
};

/// Reads the instruction at the interrupted code address, which must be one of a loaded object.
inline InterruptedCall interrupted_call(const ucontext_t* context) noexcept {
  const greg_t* registers = context->uc_mcontext.gregs;
  const auto is_syscall = [](std::uintptr_t at) noexcept {
    return std::memcmp(reinterpret_cast<const void*>(at), "\x0f\x05", 2) == 0;
  };
  const std::uintptr_t pc = interrupted_pc(context);
  const auto rax = static_cast<long>(registers[REG_RAX]);
  const auto second = static_cast<long>(registers[REG_RSI]), third = static_cast<long>(registers[REG_RDX]);
  using Kind = InterruptedCall::Kind;
  // To restart it the kernel put the number back into rax and the pc back on the instruction.
  if (is_syscall(pc)) return {Kind::kRestarts, rax, second, third};
  if (is_syscall(pc - 2) && rax == -EINTR) return {Kind::kAbandoned, 0, second, third};
  // libc's wrappers load the number right before: mov $number, %eax. Another way to load it counts as no call.
  constexpr unsigned char kLoadNumber = 0xb8;
  if (is_syscall(pc - 2) && *reinterpret_cast<const unsigned char*>(pc - 7) == kLoadNumber) {
    std::int32_t number;
    std::memcpy(&number, reinterpret_cast<const void*>(pc - 6), sizeof number);
    return {Kind::kReturned, number, second, third};
  }
  return {Kind::kNone, 0, 0, 0};
}

}  // namespace mallard::arch
