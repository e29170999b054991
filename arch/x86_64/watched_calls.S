/* SPDX-License-Identifier: Apache-2.0 */
/* Watchers of an allocator that serves inside the executable (ALLOC_EMBEDDED=observe). Each is jumped to from the
   beginning of the function that the program called, with the address of its inside::Observed in r11 and the call's
   arguments where they were. A watcher counts the call and goes on with the function, or leaves for C++
   (watched_calls.cpp) with the Observed as the sixth argument: no function that is watched has more than five.
   Clobbered are rax and r10. */
#include "arch/hot_exports.h"
#include "arch/functions.h"

.macro leave_unless_only_counted
    cmpl $MALLARD_COUNTS, mallard_duties(%rip)
    jne mallard_watch
.endm

/* Subtracts size + bias, in rax, from the thread's countdown. */
.macro count
    movq mallard_thread@gottpoff(%rip), %r10
    subq %rax, %fs:(%r10)
    jb mallard_watch_drawn
.endm

/* Leaves if a sampled block may start at rdi. */
.macro leave_if_tracked
    leal 0(, %rdi, MALLARD_FILTER_SCALE), %eax
    shrl $(MALLARD_FILTER_SHIFT + MALLARD_FILTER_SCALE_BITS), %eax
    leaq mallard_filter(%rip), %r10
    cmpb $0, (%r10, %rax)
    jne mallard_watch
.endm

.macro go_on
    jmp *(%r11)
.endm

    .text

/* Any call. */
function mallard_watch
    movq %r11, %r9
    jmp mallard_watched
end_function mallard_watch

/* One that is counted already, and may be a sample. */
function mallard_watch_drawn
    movq %r11, %r9
    jmp mallard_watched_drawn
end_function mallard_watch_drawn

/* (bytes, ...) */
function mallard_watch_first
    leave_unless_only_counted
    leaq MALLARD_SAMPLE_BIAS(%rdi), %rax
    count
    go_on
end_function mallard_watch_first

/* (any, bytes, ...) */
function mallard_watch_second
    leave_unless_only_counted
    leaq MALLARD_SAMPLE_BIAS(%rsi), %rax
    count
    go_on
end_function mallard_watch_second

/* (count, bytes, ...) */
function mallard_watch_product
    leave_unless_only_counted
    movq %rdi, %rax
    imulq %rsi, %rax
    jo mallard_watch
    addq $MALLARD_SAMPLE_BIAS, %rax
    count
    go_on
end_function mallard_watch_product

/* (block, ...) */
function mallard_watch_free
    leave_unless_only_counted
    leave_if_tracked
    go_on
end_function mallard_watch_free

/* (block, bytes, ...) */
function mallard_watch_move
    leave_unless_only_counted
    leave_if_tracked
    leaq MALLARD_SAMPLE_BIAS(%rsi), %rax
    count
    go_on
end_function mallard_watch_move

    .section .note.GNU-stack, "", @progbits
