/* SPDX-License-Identifier: Apache-2.0 */
/* The export of dlopen. The real one looks its caller up by the return address, for the caller's search paths: it must
   be jumped to, with nothing of ours on the stack. */
#define DEEPBIND 8  /* RTLD_DEEPBIND of dlfcn.h, which is no header for assemblers */

    .text
    .p2align 4
    .globl dlopen
    .type dlopen, @function
/* (file, mode) */
dlopen:
    .cfi_startproc
    testl $DEEPBIND, %esi
    jnz 1f
    cmpq $0, mallard_real_dlopen(%rip)
    je 1f
0:  jmp *mallard_real_dlopen(%rip)
1:  pushq %rdi
    .cfi_adjust_cfa_offset 8
    movl %esi, %edi
    call mallard_before_dlopen  /* gives the mode to use */
    movl %eax, %esi
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jmp 0b
    .cfi_endproc
    .size dlopen, . - dlopen
    .section .note.GNU-stack, "", @progbits
