/* SPDX-License-Identifier: Apache-2.0 */
/* The ways from an embedded allocator's interface to our exports that need no C++: arguments change their
   places, and the program's call stays the caller. Rust's global allocators use the aligned ones for all. */
#include "arch/functions.h"

#define EVERY_BLOCK_IS_ALIGNED_TO 8     /* as in slow_paths.cpp */

    .text

/* (bytes) */
function mallard_embedded_zalloc
    movq %rdi, %rsi
    movl $1, %edi
    jmp calloc
end_function mallard_embedded_zalloc

/* (bytes, alignment) */
function mallard_embedded_malloc_aligned
    cmpq $EVERY_BLOCK_IS_ALIGNED_TO, %rsi
    ja mallard_embedded_malloc_wide
    jmp malloc
end_function mallard_embedded_malloc_aligned

/* (bytes, alignment) */
function mallard_embedded_zalloc_aligned
    cmpq $EVERY_BLOCK_IS_ALIGNED_TO, %rsi
    ja mallard_embedded_zalloc_wide
    movq %rdi, %rsi
    movl $1, %edi
    jmp calloc
end_function mallard_embedded_zalloc_aligned

/* (block, bytes, alignment); never null for 0 bytes */
function mallard_embedded_realloc_aligned
    cmpq $EVERY_BLOCK_IS_ALIGNED_TO, %rdx
    ja mallard_embedded_realloc_wide
    testq %rsi, %rsi
    je mallard_embedded_realloc_wide
    jmp realloc
end_function mallard_embedded_realloc_aligned

/* (block, bytes); never null for 0 bytes */
function mallard_embedded_realloc
    testq %rsi, %rsi
    je mallard_embedded_realloc_to_nothing
    jmp realloc
end_function mallard_embedded_realloc

/* (count, bytes); throws */
function mallard_embedded_new_n
    movq %rdi, %rax
    mulq %rsi
    movq %rax, %rdi
    jno 1f
    movq $-1, %rdi
1:  jmp _Znwm
end_function mallard_embedded_new_n

    .section .note.GNU-stack, "", @progbits
