/* SPDX-License-Identifier: Apache-2.0 */
/* arch/stack_switch.hpp. The frame stays on rbp, so that debuggers can walk through. */
    .text
    .p2align 4
    .globl mallard_call_on_stack
    .hidden mallard_call_on_stack
    .type mallard_call_on_stack, @function
mallard_call_on_stack:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
    movq %rbp, (%rcx)
    movq %rdx, %rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
.Lmallard_restore:
    leaq -40(%rbp), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
    .size mallard_call_on_stack, . - mallard_call_on_stack
    .globl mallard_leave_stack
    .hidden mallard_leave_stack
    .type mallard_leave_stack, @function
mallard_leave_stack:
    endbr64
    movq %rdi, %rbp
    jmp .Lmallard_restore
    .size mallard_leave_stack, . - mallard_leave_stack

    .section .note.GNU-stack, "", @progbits
