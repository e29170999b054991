// SPDX-License-Identifier: Apache-2.0
// What the embedded part of libunwind asks of the world. meson.build leaves out those members that deal
// with the local process (files, pipes, signal masks, locks, thread caches) and renames the imports of
// the rest to these hidden functions; unwinder.cpp holds its lock around all of them.
#include <cstddef>
#include <cstdint>

#include "arch/libunwind.hpp"
#include "base/attributes.hpp"
#include "unwind/unwinder.hpp"

namespace {

// One address space (26 KiB) and two dozen small records; touched pages only. What does not fit is
// refused, which ends an unwind early.
alignas(16) constinit unsigned char arena[96 << 10]{};
constinit std::size_t arena_used = 0;

void* allocate(std::size_t bytes) noexcept {
  bytes = mallard::align_up(bytes, 16);
  if (bytes > sizeof arena - arena_used) return nullptr;
  void* p = arena + arena_used;
  arena_used += bytes;
  return p;
}

// libunwind's `struct mempool` is 72 bytes of its own; a list of free records needs two words of them.
struct Pool {
  std::size_t record_bytes;
  void* free;
};

}  // namespace

std::uint64_t mallard::unwind::unwinder_own_bytes() noexcept { return arena_used; }

extern "C" {

void mallard_unwind_pool_init(Pool* pool, std::size_t record_bytes, std::size_t) {
  *pool = {record_bytes, nullptr};
}
void* mallard_unwind_pool_alloc(Pool* pool) {
  void* record = pool->free;
  if (!record) return allocate(pool->record_bytes);
  pool->free = *static_cast<void**>(record);
  return record;
}
void mallard_unwind_pool_free(Pool* pool, void* record) {
  if (!record) return;
  *static_cast<void**>(record) = pool->free;
  pool->free = record;
}

/// Answers calloc, which asks for the address space, once. The arena is zero and nothing is given back to it.
void* mallard_unwind_calloc(std::size_t n, std::size_t bytes) { return allocate(n * bytes); }

/// For calls that unwinding through our accessors never makes, or may safely lose: files, mappings, the
/// loader's list, signal masks, mutexes, dynamic unwind info. -1 is also MAP_FAILED.
long mallard_unwind_refused() { return -1; }

// From libunwind 1.8 on: whether the system has a frame of its own here that needs a special step. Linux has none.
int mallard_unwind_no_os_step(void*) { return 0; }

/// Answers abort, which is for formats of unwind tables that find_proc_info() never hands out.
[[noreturn]] void mallard_unwind_unreachable() { __builtin_trap(); }

int mallard_unwind_no_dynamic_info() { return -10; }  // -UNW_ENOINFO

int mallard_unwind_is_signal_frame(void* cursor) { return mallard::unwind::unwinder_at_signal_frame(cursor); }

// Set up as if by libunwind's own initialisation, whose members are left out.
extern const mallard::arch::RegisterNumbers mallard_unwind_registers;
const mallard::arch::RegisterNumbers mallard_unwind_registers = mallard::arch::kUnwindNumbers;
extern const long mallard_unwind_initialised;
const long mallard_unwind_initialised = 1;
extern void* const mallard_unwind_local_space;
void* const mallard_unwind_local_space = nullptr;
extern unsigned char mallard_unwind_signal_mask[128];
unsigned char mallard_unwind_signal_mask[128] = {};

}  // extern "C"
