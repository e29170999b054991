/* SPDX-License-Identifier: Apache-2.0 */
/* The exports that programs call millions of times a second: count, test the filter, jump to the backend.
   They stand in pages of their own (layout.ld), in which start-up turns every `jmp *table` into a direct jump.
   The first instruction of each is at least 5 bytes long, so that a jump can stand in its place where another
   mode is in force (mode.hpp): all bytes behind it stay as they are, for threads that are past it.
   Whatever is not the plain case leaves for C++ (slow_paths.cpp) with the caller's frame untouched. Behind the exports
   stands what comes before them where calls are timed (record/latency.hpp), which costs nothing elsewhere. */
#include "arch/hot_exports.h"

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

/* An export whose first instruction a mode replaces by a jump: to `exact`, or, in mode off, to `off`, which is
   `off_boot` where blocks of the boot arena must be recognised. A jump to the export itself: it stays. Where calls
   are timed it is a jump to a `counting`. */
.macro mode_entry name exact off off_boot
    .pushsection mallard_entries, "a", @progbits
    .long mallard_\name\()_entry - .
    .long \exact - .
    .long \off - .
    .long \off_boot - .
    .long mallard_\name\()_counts - .
    .long mallard_\name\()_goes_on - .
    .popsection
.endm

/* Counts a call down, and leaves for the function that times it when it is that one's turn. Then come the export's
   first instruction and a jump to its second; the mode in force replaces that instruction as it does the export's.
   Clobbers rdx. */
.macro counting name
    .p2align 4
mallard_\name\()_counts:
    .cfi_startproc
    movq mallard_thread@gottpoff(%rip), %rdx
    subq $1, %fs:MALLARD_CALLS_LEFT_AT(%rdx)
    jb mallard_\name\()_timed
mallard_\name\()_goes_on:
.endm
.macro end_counting name
    jmp mallard_\name\()_second
    .cfi_endproc
.endm

/* Where init patches: offset of the instruction from here, and which it is. */
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

/* Subtracts size + bias, in rax, from the thread's countdown; a borrow means that a sample is due. Impossible
   sizes borrow, too, and so reach C++. The first two instructions become one with the offset in it. */
.macro count slow
703:
    movq mallard_thread@gottpoff(%rip), %rdx
    subq %rax, %fs:(%rdx)
    patch_site 703b, MALLARD_SLOT_COUNTDOWN
    jb \slow
.endm

/* Leaves if a sampled block may start at rdi. Clobbers rax, rdx. */
.macro leave_if_tracked slow
    scale_address
    leave_if_scaled_tracked \slow
.endm
.macro scale_address
    leal 0(, %rdi, MALLARD_FILTER_SCALE), %eax      /* 7 bytes: room for a mode's jump */
.endm
.macro leave_if_scaled_tracked slow
    shrl $(MALLARD_FILTER_SHIFT + MALLARD_FILTER_SCALE_BITS), %eax
    leaq mallard_filter(%rip), %rdx
    cmpb $0, (%rdx, %rax)
    jne \slow
.endm

    .section mallard_exports, "ax", @progbits
    .p2align 12
    .globl mallard_exports_begin
    .hidden mallard_exports_begin
mallard_exports_begin:

function malloc
export __libc_malloc
mallard_malloc_entry:
    {disp32} leaq MALLARD_SAMPLE_BIAS(%rdi), %rax
mallard_malloc_second:
    count mallard_malloc_slow
mallard_malloc_off:
    jump_to_backend MALLARD_SLOT_MALLOC
    mode_entry malloc, mallard_malloc_exact, mallard_malloc_off, mallard_malloc_off
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
mallard_free_entry:
    scale_address
mallard_free_second:
    leave_if_scaled_tracked mallard_free_slow
mallard_free_off:
    jump_to_backend MALLARD_SLOT_FREE
    mode_entry free, mallard_free_exact, mallard_free_off, mallard_free_entry
end_function free

function calloc
export __libc_calloc
mallard_calloc_entry:
    {disp32} leaq 0(%rdi), %rax
mallard_calloc_second:
    mulq %rsi
    jo mallard_calloc_overflow
    addq $MALLARD_SAMPLE_BIAS, %rax
    jc mallard_calloc_overflow
    count mallard_calloc_slow
mallard_calloc_jump:
    jump_to_backend MALLARD_SLOT_CALLOC
mallard_calloc_off:
    movq %rdi, %rax
    mulq %rsi
    jo mallard_calloc_overflow      /* backends fail there, but not all with ENOMEM */
    testq %rax, %rax
    jns mallard_calloc_jump
    jmp mallard_calloc_overflow
    mode_entry calloc, mallard_calloc_exact, mallard_calloc_off, mallard_calloc_off
end_function calloc
    .size __libc_calloc, . - __libc_calloc

function realloc
export __libc_realloc
mallard_realloc_entry:
    movl $MALLARD_SAMPLE_BIAS, %eax
mallard_realloc_second:
    testq %rsi, %rsi
    je mallard_realloc_odd
    addq %rsi, %rax
    jc mallard_realloc_odd          /* backends fail there, but not all with ENOMEM */
    count mallard_realloc_slow
    leave_if_tracked mallard_realloc_tracked
mallard_realloc_jump:
    jump_to_backend MALLARD_SLOT_REALLOC
mallard_realloc_off:
    testq %rsi, %rsi
    jg mallard_realloc_jump
    jmp mallard_realloc_odd
mallard_realloc_off_boot:
    testq %rsi, %rsi
    jle mallard_realloc_odd
    leave_if_tracked mallard_realloc_tracked
    jmp mallard_realloc_jump
    mode_entry realloc, mallard_realloc_exact, mallard_realloc_off, mallard_realloc_off_boot
end_function realloc
    .size __libc_realloc, . - __libc_realloc

/* The backend's own: where boot blocks exist, lifecycle.cpp has put a function in front that knows them. */
function malloc_usable_size
    jump_to_backend MALLARD_SLOT_USABLE
end_function malloc_usable_size

/* A call instead of a jump, because a null result must become std::bad_alloc. */
function _Znwm
export _Znam
mallard_new_entry:
    {disp32} leaq MALLARD_SAMPLE_BIAS(%rdi), %rax
mallard_new_second:
    count mallard_new_slow
mallard_new_off:
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    call_backend MALLARD_SLOT_MALLOC
    popq %rdi
    .cfi_adjust_cfa_offset -8
    testq %rax, %rax
    je mallard_new_failed
    ret
    mode_entry new, mallard_new_exact, mallard_new_off, mallard_new_off
end_function _Znwm
    .size _Znam, . - _Znam

counting malloc
    {disp32} leaq MALLARD_SAMPLE_BIAS(%rdi), %rax
end_counting malloc

counting free
    scale_address
end_counting free

counting calloc
    {disp32} leaq 0(%rdi), %rax
end_counting calloc

counting realloc
    movl $MALLARD_SAMPLE_BIAS, %eax
end_counting realloc

counting new
    {disp32} leaq MALLARD_SAMPLE_BIAS(%rdi), %rax
end_counting new

    .hidden mallard_exports_end     /* layout.ld */

    .section .note.GNU-stack, "", @progbits
