// SPDX-License-Identifier: Apache-2.0
#include "interpose/slow_paths.hpp"

#include <errno.h>
#include <string.h>

#include <bit>

#include "backends/boot.hpp"
#include "interpose/dispatch.hpp"

namespace mallard::interpose {
namespace {

void* fail(int error) noexcept {
  errno = error;
  return nullptr;
}

/// The export may have charged the countdown, wrapped, for a request that nobody can serve: draw a new gap.
void* fail_huge() noexcept {
  record::restart_countdown();
  return fail(ENOMEM);
}

void* booked(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept {
  if (sampled && MALLARD_LIKELY(p != nullptr))
    record::on_alloc(p, bytes, mallard_table.usable_size(p), caller);
  return p;
}

void* move_boot_block(void* p, std::size_t bytes) noexcept {
  void* fresh = mallard_table.malloc(bytes);
  if (!fresh) return nullptr;
  const std::size_t old = backends::boot_usable_size(p);
  memcpy(fresh, p, old < bytes ? old : bytes);
  backends::boot_free(p);
  return fresh;
}

/// The countdown has been charged already; `sampled` is its verdict.
void* reallocate_counted(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept {
  if (p && backends::is_boot_block(p)) return booked(move_boot_block(p, bytes), bytes, sampled, caller);
  record::LiveBlock saved;
  const bool was_sample = p && record::may_be_tracked(p) && record::on_move(p, &saved);
  void* moved = mallard_table.realloc(p, bytes);
  if (!moved && was_sample) record::on_move_failed(saved);
  return booked(moved, bytes, sampled, caller);
}

}  // namespace

void* allocate(std::size_t bytes, const Caller& caller) noexcept {
  if (MALLARD_UNLIKELY(bytes > kMaxRequestBytes)) return fail(ENOMEM);
  const bool sampled = MALLARD_UNLIKELY(record::count(bytes)) && record::decide(bytes);
  return booked(mallard_table.malloc(bytes), bytes, sampled, caller);
}

void* allocate_aligned(std::size_t alignment, std::size_t bytes, const Caller& caller) noexcept {
  constexpr std::size_t kMallocAlignment = 8;  // what every backend's smallest size class has
  constexpr std::size_t kMaxAlignment = std::size_t{1} << 63;
  if (alignment <= kMallocAlignment) return allocate(bytes, caller);
  if (alignment > kMaxAlignment) return fail(EINVAL);
  alignment = alignment <= 16 ? 16 : std::bit_ceil(alignment);
  if (bytes > kMaxRequestBytes || alignment > kMaxRequestBytes - bytes) return fail(ENOMEM);
  const bool sampled = MALLARD_UNLIKELY(record::count(bytes)) && record::decide(bytes);
  // Asked for 0 aligned bytes, jemalloc forgets the alignment.
  return booked(mallard_table.memalign(alignment, bytes ? bytes : 1), bytes, sampled, caller);
}

void release(void* p) noexcept {
  if (MALLARD_UNLIKELY(record::may_be_tracked(p))) {
    if (!p) return;
    if (backends::is_boot_block(p)) return backends::boot_free(p);
    record::on_free(p);
  }
  mallard_table.free(p);
}

void* reallocate(void* p, std::size_t bytes, const Caller& caller) noexcept {
  if (bytes == 0) {  // glibc: frees and returns null, but realloc(NULL, 0) is malloc(0)
    if (!p) return allocate(0, caller);
    release(p);
    return nullptr;
  }
  if (bytes > kMaxRequestBytes) return fail(ENOMEM);
  const bool sampled = record::count(bytes) && record::decide(bytes);
  return reallocate_counted(p, bytes, sampled, caller);
}

}  // namespace mallard::interpose

// Where hot_exports.S leaves to. The frame of each still has the host's call as its caller.
namespace {
using namespace mallard;
using namespace mallard::interpose;
}  // namespace

extern "C" {

__attribute__((visibility("hidden"))) void* mallard_malloc_slow(std::size_t bytes) {
  const Caller caller = MALLARD_CALLER();
  if (bytes > kMaxRequestBytes) return fail_huge();
  const bool sampled = record::decide(bytes);
  return booked(mallard_table.malloc(bytes), bytes, sampled, caller);
}

__attribute__((visibility("hidden"))) void* mallard_calloc_slow(std::size_t count, std::size_t size) {
  const Caller caller = MALLARD_CALLER();
  const std::size_t bytes = count * size;  // checked by the export
  if (bytes > kMaxRequestBytes) return fail_huge();
  const bool sampled = record::decide(bytes);
  return booked(mallard_table.calloc(count, size), bytes, sampled, caller);
}

__attribute__((visibility("hidden"))) void* mallard_calloc_overflow(std::size_t, std::size_t) {
  return fail(ENOMEM);
}

__attribute__((visibility("hidden"))) void mallard_free_slow(void* p) { release(p); }

__attribute__((visibility("hidden"))) void* mallard_realloc_zero(void* p, std::size_t) {
  const Caller caller = MALLARD_CALLER();
  return reallocate(p, 0, caller);
}

__attribute__((visibility("hidden"))) void* mallard_realloc_slow(void* p, std::size_t bytes) {
  const Caller caller = MALLARD_CALLER();
  if (bytes > kMaxRequestBytes) return fail_huge();
  return reallocate_counted(p, bytes, record::decide(bytes), caller);
}

__attribute__((visibility("hidden"))) void* mallard_realloc_tracked(void* p, std::size_t bytes) {
  const Caller caller = MALLARD_CALLER();
  return reallocate_counted(p, bytes, false, caller);
}
}
