/* SPDX-License-Identifier: Apache-2.0 */
/* Hidden functions written in assembly, for the files beside this one. */

.macro function name
    .p2align 4
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    .cfi_startproc
.endm

.macro end_function name
    .cfi_endproc
    .size \name, . - \name
.endm
