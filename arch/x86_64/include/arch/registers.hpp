// SPDX-License-Identifier: Apache-2.0
// The registers of another thread, as ptrace and core files have them. A port names the set that has the wide
// registers, and says where the stack pointer stands.
#pragma once

#include <elf.h>
#include <sys/user.h>

#include <cstdint>

namespace mallard::arch {

using GeneralRegisters = user_regs_struct;
inline constexpr long kWideRegisters = NT_X86_XSTATE;

inline std::uintptr_t stack_pointer(const GeneralRegisters& registers) noexcept { return registers.rsp; }
/// What functions may use beyond the stack pointer.
inline constexpr std::uintptr_t kRedZone = 128;

}  // namespace mallard::arch
