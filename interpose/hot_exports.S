/* SPDX-License-Identifier: Apache-2.0 */
/* The exports that programs call millions of times a second: count, test the filter, jump to the backend.
   They stand in pages of their own, which init rewrites once: every `jmp *table` becomes a direct jump.
   Whatever is not the plain case leaves for C++ (slow_paths.cpp) with the caller's frame untouched. */
#include "record/layout.h"

/* Offsets of backends::Functions, checked by static_assert in dispatch.cpp. */
#define SLOT_MALLOC  0
#define SLOT_FREE    8
#define SLOT_CALLOC  16
#define SLOT_REALLOC 24

.macro export name
    .globl \name
    .type \name, @function
\name:
.endm

.macro function name
    .p2align 5
    export \name
    .cfi_startproc
.endm

.macro end_function name
    .cfi_endproc
    .size \name, . - \name
.endm

/* Where init patches: offset of the 6-byte instruction from here, slot of its target. */
.macro patch_site label slot
    .pushsection mallard_patches, "a", @progbits
    .long \label - .
    .long \slot
    .popsection
.endm

.macro jump_to_backend slot
701:
    jmp *(mallard_table + \slot)(%rip)
    patch_site 701b, \slot
.endm

.macro call_backend slot
702:
    call *(mallard_table + \slot)(%rip)
    patch_site 702b, \slot
.endm

/* Subtracts size + bias from the thread's countdown; a borrow means that a sample is due. A size near 2^64
   carries or borrows too, so that impossible requests always reach C++. Clobbers rax, rdx. */
.macro count size slow
    movl $MALLARD_SAMPLE_BIAS, %eax
    addq \size, %rax
    jc \slow
    count_biased \slow
.endm

/* The same for size + bias in rax. */
.macro count_biased slow
    movq mallard_thread@gottpoff(%rip), %rdx
    subq %rax, %fs:(%rdx)
    jb \slow
.endm

/* Leaves if a sampled block may start at `block`. Clobbers rax, rdx. */
.macro leave_if_tracked block slow
    movq \block, %rax
    shrq $MALLARD_FILTER_SHIFT, %rax
    leaq mallard_filter(%rip), %rdx
    andl $MALLARD_FILTER_MASK, %eax
    cmpb $0, (%rdx, %rax)
    jne \slow
.endm

    .section .text.mallard_exports, "ax", @progbits
    .p2align 12
    .globl mallard_exports_begin
    .hidden mallard_exports_begin
mallard_exports_begin:

function malloc
export __libc_malloc
    count %rdi, mallard_malloc_slow
    jump_to_backend SLOT_MALLOC
end_function malloc
    .size __libc_malloc, . - __libc_malloc

/* Sized and array deletes are plain frees: the backend knows the size better than the caller. */
function free
export __libc_free
export cfree
export free_sized
export free_aligned_sized
export _ZdlPv
export _ZdaPv
export _ZdlPvm
export _ZdaPvm
export _ZdlPvRKSt9nothrow_t
export _ZdaPvRKSt9nothrow_t
export _ZdlPvSt11align_val_t
export _ZdaPvSt11align_val_t
export _ZdlPvmSt11align_val_t
export _ZdaPvmSt11align_val_t
export _ZdlPvSt11align_val_tRKSt9nothrow_t
export _ZdaPvSt11align_val_tRKSt9nothrow_t
    leave_if_tracked %rdi, mallard_free_slow
    jump_to_backend SLOT_FREE
end_function free

function calloc
export __libc_calloc
    movq %rdi, %rax
    mulq %rsi
    jo mallard_calloc_overflow
    addq $MALLARD_SAMPLE_BIAS, %rax
    jc mallard_calloc_overflow
    count_biased mallard_calloc_slow
    jump_to_backend SLOT_CALLOC
end_function calloc
    .size __libc_calloc, . - __libc_calloc

function realloc
export __libc_realloc
    testq %rsi, %rsi
    je mallard_realloc_zero
    count %rsi, mallard_realloc_slow
    leave_if_tracked %rdi, mallard_realloc_tracked
    jump_to_backend SLOT_REALLOC
end_function realloc
    .size __libc_realloc, . - __libc_realloc

/* A call instead of a jump, because a null result must become std::bad_alloc. */
function _Znwm
export _Znam
    count %rdi, mallard_new_slow
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    call_backend SLOT_MALLOC
    popq %rdi
    .cfi_adjust_cfa_offset -8
    testq %rax, %rax
    je mallard_new_failed
    ret
end_function _Znwm
    .size _Znam, . - _Znam

    .p2align 12
    .globl mallard_exports_end
    .hidden mallard_exports_end
mallard_exports_end:

    .section .note.GNU-stack, "", @progbits
