// SPDX-License-Identifier: Apache-2.0
// memalign: real alignment for many sizes; odd alignments are rounded up to the next power of two
// (glibc 2.36); failures.
// BACKENDS: all
#define FUNCTION memalign
#define NAME "memalign"
#include "aligned_cases.h"
