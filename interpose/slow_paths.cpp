// SPDX-License-Identifier: Apache-2.0
#include "interpose/slow_paths.hpp"

#include <errno.h>
#include <string.h>

#include <bit>

#include "backends/boot.hpp"
#include "backends/collect.hpp"
#include "interpose/alone_again.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/mode.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/moved_block.hpp"
#include "record/latency_clock.hpp"

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

/// The last purge that this thread has collected for.
constinit __thread std::uint32_t t_collected __attribute__((tls_model("initial-exec"))) = 0;

/// Where a purge was asked for, the thread gives back what it keeps. The allocator has done what it was
/// called for, and no block of the host's is in its hands.
inline void collect_where_asked() noexcept {
  backends::Collection& collection = backends::collection;
  const std::uint32_t asked = collection.asked.load(std::memory_order_relaxed);
  if (MALLARD_LIKELY(asked == t_collected)) return;
  t_collected = asked;
  const int before = errno;
  collection.own();
  errno = before;
  collection.came.fetch_add(1, std::memory_order_relaxed);
}

inline bool is_drawn(std::size_t bytes) noexcept {
  return has_duty(kCounts) && MALLARD_UNLIKELY(record::count(bytes)) && record::decide(bytes);
}

/// What a call of the backend returns, which is timed if it is to be.
template <typename Call>
inline void* returned(Timed timed, record::Operation operation, std::size_t bytes, const Caller& caller,
                      Call call) noexcept {
  if (MALLARD_LIKELY(timed == Timed::kNo)) return call();
  const std::uint64_t before = record::time_before();
  void* p = call();
  const std::uint64_t after = record::time_after();
  record::latency_note(operation, record::size_group_of(bytes), before, after, caller);
  return p;
}

inline void* booked(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept {
  if (MALLARD_UNLIKELY(p == nullptr)) return p;
  if (has_duty(kBooksExactly)) record::exact_alloc(p, bytes, caller);
  if (MALLARD_UNLIKELY(sampled)) {
    record::on_alloc(p, bytes, mallard_table.usable_size(p), caller);
    tell_when_alone();
    collect_where_asked();
  }
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
void* reallocate_counted(void* p, std::size_t bytes, bool sampled, const Caller& caller,
                         Timed timed = Timed::kNo) noexcept {
  if (p && backends::is_boot_block(p)) return booked(move_boot_block(p, bytes), bytes, sampled, caller);
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  void* moved = returned(timed, record::Operation::kRealloc, bytes, caller,
                         [p, bytes] { return mallard_table.realloc(p, bytes); });
  if (!moved) record::book_again(p, before);
  return booked(moved, bytes, sampled, caller);
}

}  // namespace

bool counts_as_sample(std::size_t bytes) noexcept { return bytes <= kMaxRequestBytes && is_drawn(bytes); }

void* book(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept {
  return booked(p, bytes, sampled, caller);
}

bool forget(void* p) noexcept {
  if (MALLARD_UNLIKELY(record::may_be_tracked(p))) {
    if (backends::is_boot_block(p)) {
      backends::boot_free(p);
      return false;
    }
    record::on_free(p);
  }
  if (has_duty(kUnbooksExactly)) record::exact_release(p);
  return true;
}

void* allocate(std::size_t bytes, const Caller& caller, Timed timed) noexcept {
  if (MALLARD_UNLIKELY(bytes > kMaxRequestBytes)) return fail(ENOMEM);
  return allocate_counted(bytes, is_drawn(bytes), caller, timed);
}

void* allocate_counted(std::size_t bytes, bool sampled, const Caller& caller, Timed timed) noexcept {
  void* p = returned(timed, record::Operation::kMalloc, bytes, caller,
                     [bytes] { return mallard_table.malloc(bytes); });
  return booked(p, bytes, sampled, caller);
}

void* allocate_aligned(std::size_t alignment, std::size_t bytes, const Caller& caller, Timed timed) noexcept {
  constexpr std::size_t kMallocAlignment = 8;  // what every backend's smallest size class has
  constexpr std::size_t kMaxAlignment = std::size_t{1} << 63;
  if (alignment <= kMallocAlignment) return allocate(bytes, caller, timed);
  if (alignment > kMaxAlignment) return fail(EINVAL);
  alignment = alignment <= 16 ? 16 : std::bit_ceil(alignment);
  if (bytes > kMaxRequestBytes || alignment > kMaxRequestBytes - bytes) return fail(ENOMEM);
  const bool sampled = is_drawn(bytes);
  // Asked for 0 aligned bytes, jemalloc forgets the alignment.
  void* p = returned(timed, record::Operation::kAligned, bytes, caller,
                     [alignment, bytes] { return mallard_table.memalign(alignment, bytes ? bytes : 1); });
  return booked(p, bytes, sampled, caller);
}

void* allocate_zeroed(std::size_t count, std::size_t size, const Caller& caller, Timed timed) noexcept {
  std::size_t bytes;
  if (MALLARD_UNLIKELY(__builtin_mul_overflow(count, size, &bytes) || bytes > kMaxRequestBytes))
    return fail(ENOMEM);
  const bool sampled = is_drawn(bytes);
  void* p = returned(timed, record::Operation::kCalloc, bytes, caller,
                     [count, size] { return mallard_table.calloc(count, size); });
  return booked(p, bytes, sampled, caller);
}

void release(void* p) noexcept {
  if (p && forget(p)) mallard_table.free(p);
}

void* reallocate(void* p, std::size_t bytes, const Caller& caller, Timed timed) noexcept {
  if (bytes == 0) {  // glibc: frees and returns null, but realloc(NULL, 0) is malloc(0)
    if (!p) return allocate(0, caller, timed);
    release(p);
    return nullptr;
  }
  if (bytes > kMaxRequestBytes) return fail(ENOMEM);
  return reallocate_counted(p, bytes, is_drawn(bytes), caller, timed);
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
  return allocate_counted(bytes, record::decide(bytes), caller);
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

/// Size 0, or so large that adding the sampler's bias overflows.
__attribute__((visibility("hidden"))) void* mallard_realloc_odd(void* p, std::size_t bytes) {
  const Caller caller = MALLARD_CALLER();
  return reallocate(p, bytes, caller);
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

// Exact mode: what the hot exports jump to at once. They do what the duties in force ask for, so that they
// are right for a thread, too, that comes here a moment after the mode has changed.

__attribute__((visibility("hidden"))) void* mallard_malloc_exact(std::size_t bytes) {
  return allocate(bytes, MALLARD_CALLER());
}

__attribute__((visibility("hidden"))) void* mallard_calloc_exact(std::size_t count, std::size_t size) {
  return allocate_zeroed(count, size, MALLARD_CALLER());
}

__attribute__((visibility("hidden"))) void mallard_free_exact(void* p) { release(p); }

__attribute__((visibility("hidden"))) void* mallard_realloc_exact(void* p, std::size_t bytes) {
  return reallocate(p, bytes, MALLARD_CALLER());
}

// Where calls are timed: the functions of those whose turn it is. They do what the mode in force asks for.

namespace {
inline Timed drawn() noexcept { return Timed{record::latency_draw()}; }
}  // namespace

__attribute__((visibility("hidden"))) void* mallard_malloc_timed(std::size_t bytes) {
  return allocate(bytes, MALLARD_CALLER(), drawn());
}

__attribute__((visibility("hidden"))) void* mallard_calloc_timed(std::size_t count, std::size_t size) {
  return allocate_zeroed(count, size, MALLARD_CALLER(), drawn());
}

/// The block's size is asked of one in two; a null pointer takes no time to speak of, and does not count.
__attribute__((visibility("hidden"))) void mallard_free_timed(void* p) {
  const Caller caller = MALLARD_CALLER();
  const Timed timed = drawn();
  if (!p || !forget(p)) return;
  if (timed == Timed::kNo) return mallard_table.free(p);
  int group = record::kUnknownSize;
  if (record::latency_asks_size())
    if (const std::size_t bytes = mallard_table.usable_size(p)) group = record::size_group_of(bytes);
  const std::uint64_t before = record::time_before();
  mallard_table.free(p);
  const std::uint64_t after = record::time_after();
  record::latency_note(record::Operation::kFree, group, before, after, caller);
}

__attribute__((visibility("hidden"))) void* mallard_realloc_timed(void* p, std::size_t bytes) {
  return reallocate(p, bytes, MALLARD_CALLER(), drawn());
}
}
