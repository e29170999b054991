// SPDX-License-Identifier: Apache-2.0
// How frames lie on the stack, for the unwinder's own interpreter (unwind/cfi.cpp) and its walks. A port gives
// the numbers that DWARF has for its registers. The rules of unwind/ say where the stack pointer and the frame
// pointer of the caller are and take the return address from a fixed place below the CFA: where functions
// keep it in a register instead, a port has to add a kind of rule.
#pragma once

#include <cstdint>
#include <cstring>

namespace mallard::arch {

/// Registers by their numbers in DWARF, of which there are kRegisters.
inline constexpr std::uint32_t kFrameRegister = 6, kStackRegister = 7, kReturnRegister = 16, kRegisters = 17;
/// What offsets of saved registers are multiplied by, and where the return address is saved, from the CFA.
inline constexpr std::int32_t kDataAlignment = -8, kReturnOffset = -8;

/// A chain of frame pointers: the frame pointer leads to its caller's, and the caller's stack begins
/// kLinkedFrameBytes above, right behind the return address.
inline constexpr std::uintptr_t kLinkedFrameBytes = 16;

/// Where the frame that the kernel pushes for a signal keeps registers, from its begin, which is where the
/// stack pointer stands when the handler has returned.
inline constexpr std::uintptr_t kSignalFrame = 120, kSignalSp = 160, kSignalPc = 168;

/// What a signal handler returns to: `mov $15, %rax; syscall`.
inline constexpr std::size_t kSignalReturnBytes = 9;
inline bool is_signal_return(const void* code) noexcept {
  return std::memcmp(code, "\x48\xc7\xc0\x0f\0\0\0\x0f\x05", kSignalReturnBytes) == 0;
}

/// The linker's expression for the entries of a PLT, which push a word before their last instruction: what
/// stands behind "stack pointer + offset", as (((pc & 15) >= LITERAL) << 3) + that.
inline constexpr std::uint8_t kPltExpression[] = {0x80, 0x00, 0x3f, 0x1a, 0x30, 0x2a, 0x33, 0x24, 0x22};
inline constexpr std::size_t kPltLiteralAt = 4;
/// How much further the CFA is than the offset says. \param literal  the expression's byte at kPltLiteralAt
constexpr std::int32_t plt_pushed_bytes(std::uintptr_t code, std::uint8_t literal) noexcept {
  return (code & 15) >= literal - 0x30u ? 8 : 0;
}

}  // namespace mallard::arch
