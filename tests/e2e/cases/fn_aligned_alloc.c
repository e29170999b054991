// SPDX-License-Identifier: Apache-2.0
// aligned_alloc: real alignment for many sizes; odd alignments are rounded up to the next power of two
// (glibc 2.36); failures.
// BACKENDS: all
#define FUNCTION aligned_alloc
#define NAME "aligned_alloc"
#include "aligned_cases.h"
