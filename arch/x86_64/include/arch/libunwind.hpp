// SPDX-License-Identifier: Apache-2.0
// libunwind writes the architecture's name into its headers, types and symbols. A port includes its own header, says
// which registers a walk begins with, and stores them.
#pragma once

#include <libunwind-x86_64.h>

#include <cstdint>

// Not in libunwind's headers, but exported for callers like us (its ptrace accessors use the first).
extern "C" {
int unwind_search_table(unw_addr_space_t, unw_word_t, unw_dyn_info_t*, unw_proc_info_t*, int,
                        void*) __asm__("_Ux86_64_dwarf_search_unwind_table");
int unwind_dwarf_init() __asm__("_Ux86_64_dwarf_init");
}

namespace mallard::arch {

/// libunwind's numbers of registers, which are below kUnwindRegisters and the same as DWARF's.
inline constexpr int kUnwindRegisters = 17;
inline constexpr int kUnwindPc = UNW_X86_64_RIP, kUnwindSp = UNW_X86_64_RSP, kUnwindFrame = UNW_X86_64_RBP;
struct RegisterNumbers {
  unsigned char of_dwarf[kUnwindRegisters];
};
inline constexpr RegisterNumbers kUnwindNumbers = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/// Registers that a function must preserve, the stack pointer and the code address last.
inline constexpr int kUnwindPreserved[] = {UNW_X86_64_RBX, UNW_X86_64_RBP, UNW_X86_64_R12, UNW_X86_64_R13,
                                           UNW_X86_64_R14, UNW_X86_64_R15, UNW_X86_64_RSP, UNW_X86_64_RIP};
/// Stores what they hold here, in that order.
[[gnu::always_inline]] inline void store_preserved(std::uintptr_t (&to)[8]) noexcept {
  __asm__ volatile(
      "movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\tmovq %%r12, 16(%0)\n\tmovq %%r13, 24(%0)\n\t"
      "movq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)\n\tmovq %%rsp, 48(%0)\n\t"
      "leaq 0(%%rip), %%rax\n\tmovq %%rax, 56(%0)"
      :
      : "r"(to)
      : "rax", "memory");
}

}  // namespace mallard::arch
