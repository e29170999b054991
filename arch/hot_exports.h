/* SPDX-License-Identifier: Apache-2.0 */
/* What the assembly of the hot exports and the C++ around it agree on, for every architecture. A port writes
   hot_exports.S with the exports of arch/x86_64/hot_exports.S: each charges the request to the thread's countdown,
   asks the filter, and leaves through the backend's table; all else goes to the functions of slow_paths.cpp, with
   the caller's registers untouched. Into the sections below it puts where start-up patches (interpose/patch.cpp). */
#ifndef MALLARD_ARCH_HOT_EXPORTS_H
#define MALLARD_ARCH_HOT_EXPORTS_H

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

/* Where the functions stand in the backend's table (mallard_table). */
#define MALLARD_SLOT_MALLOC 0
#define MALLARD_SLOT_FREE 8
#define MALLARD_SLOT_CALLOC 16
#define MALLARD_SLOT_REALLOC 24
#define MALLARD_SLOT_USABLE 40
/* No slot, but the countdown's place in TLS. */
#define MALLARD_SLOT_COUNTDOWN 0xffffffff

/* The duties in force where calls are counted and sampled, and nothing else (record::Duty). */
#define MALLARD_COUNTS 1

/* Where record::ThreadState has the calls left until one is timed. */
#define MALLARD_CALLS_LEFT_AT 8

#ifndef __ASSEMBLER__
#include <cstdint>

namespace mallard::arch {
/// An instruction that is made direct at start.
struct PatchSite {
  std::int32_t offset;  ///< of the instruction, from this field
  std::uint32_t slot;   ///< byte offset of the target in the table, or MALLARD_SLOT_COUNTDOWN
};
/// An export and where the modes jump to from its first instruction; each is an offset from its own field.
/// Where calls are timed it jumps to `counts` instead, which goes on at `goes_on` with what the mode has at the
/// entry.
struct ModeEntry {
  std::int32_t entry, exact, off, off_boot, counts, goes_on;
};
}  // namespace mallard::arch

extern "C" {
__attribute__((visibility("hidden"))) extern const unsigned char mallard_exports_begin[];
__attribute__((visibility("hidden"))) extern const unsigned char mallard_exports_end[];
// Bounds of the sections that hot_exports.S fills; the linker makes them.
__attribute__((visibility("hidden"))) extern const mallard::arch::PatchSite __start_mallard_patches[];
__attribute__((visibility("hidden"))) extern const mallard::arch::PatchSite __stop_mallard_patches[];
__attribute__((visibility("hidden"))) extern const mallard::arch::ModeEntry __start_mallard_entries[];
__attribute__((visibility("hidden"))) extern const mallard::arch::ModeEntry __stop_mallard_entries[];
}
#endif

#endif
