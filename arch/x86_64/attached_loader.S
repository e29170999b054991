/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the place of dlopen and dlsym in a process that was attached to: see attach/loader_calls.hpp. The
   real ones look their caller up by the return address, so they are jumped to with nothing of ours on the stack. */

/* Looks for new slots if this thread has opened an object since the last time. Keeps the arguments. */
.macro look_if_opened
    movq mallard_has_opened@gottpoff(%rip), %rax
    cmpl $0, %fs:(%rax)
    je 1f
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call mallard_attached_look_again
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
1:
.endm

    .text
    .p2align 4
    .globl mallard_attached_dlopen
    .hidden mallard_attached_dlopen
    .type mallard_attached_dlopen, @function
mallard_attached_dlopen:
    .cfi_startproc
    look_if_opened
    movq mallard_has_opened@gottpoff(%rip), %rax
    movl $1, %fs:(%rax)
    jmp *mallard_attached_real_dlopen(%rip)
    .cfi_endproc
    .size mallard_attached_dlopen, . - mallard_attached_dlopen

    .p2align 4
    .globl mallard_attached_dlsym
    .hidden mallard_attached_dlsym
    .type mallard_attached_dlsym, @function
mallard_attached_dlsym:
    .cfi_startproc
    look_if_opened
    jmp *mallard_attached_real_dlsym(%rip)
    .cfi_endproc
    .size mallard_attached_dlsym, . - mallard_attached_dlsym
    .section .note.GNU-stack, "", @progbits
