/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that the assembly of the hot exports and the C++ behind it must agree on. */
#ifndef MALLARD_RECORD_LAYOUT_H
#define MALLARD_RECORD_LAYOUT_H

/* Every allocation counts as its size plus this many bytes. Small objects that each pin a page would
   otherwise almost never be drawn (docs/decisions.md has the measurement). */
#define MALLARD_SAMPLE_BIAS 256

/* The filter of free: one counter per granule of address space, folded at 1 GiB: the low half of 4 times an
   address, which is one instruction, shifted by two bits more, without a mask. 2 MiB, aligned so: one page of page
   tables for every fork to copy. Granules without samples share the kernel's page of zeros. */
#define MALLARD_FILTER_SHIFT 9
#define MALLARD_FILTER_SCALE_BITS 2
#define MALLARD_FILTER_SCALE (1 << MALLARD_FILTER_SCALE_BITS)
#define MALLARD_FILTER_SLOTS (1 << (32 - MALLARD_FILTER_SHIFT - MALLARD_FILTER_SCALE_BITS))

#endif
