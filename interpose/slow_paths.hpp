// SPDX-License-Identifier: Apache-2.0
// Everything off the hot path of an allocation: samples, tracked blocks, boot blocks, errors.
#pragma once

#include <cstddef>

#include "interpose/mode.hpp"
#include "record/latency.hpp"

namespace mallard::interpose {

using arch::Caller;

/// glibc's bound: larger requests fail with ENOMEM before any backend sees them.
inline constexpr std::size_t kMaxRequestBytes = PTRDIFF_MAX;

/// Whether the backend's call is timed (record/latency.hpp).
enum class Timed : bool { kNo, kYes };
/// Counts a call that no export's code has counted, where calls are timed. \context hot (slow path)
inline Timed drawn_to_be_timed() noexcept {
  return Timed{MALLARD_UNLIKELY(has_duty(kTimes)) && record::latency_is_due()};
}

void* allocate(std::size_t bytes, const Caller& caller, Timed timed = Timed::kNo) noexcept;
/// The countdown has been charged already; `sampled` is its verdict.
void* allocate_counted(std::size_t bytes, bool sampled, const Caller& caller,
                       Timed timed = Timed::kNo) noexcept;
/// \param alignment any value; rounded up to a power of two as glibc does
void* allocate_aligned(std::size_t alignment, std::size_t bytes, const Caller& caller,
                       Timed timed = Timed::kNo) noexcept;
/// The slow path of calloc: the backend knows which memory is zero already.
void* allocate_zeroed(std::size_t count, std::size_t size, const Caller& caller,
                      Timed timed = Timed::kNo) noexcept;
void* reallocate(void* p, std::size_t bytes, const Caller& caller, Timed timed = Timed::kNo) noexcept;
void release(void* p) noexcept;

// The books alone, for an allocator's own interface, which allocates by itself. \context hot (slow path)

/// Counts an allocation of `bytes`. \return true if it is a sample
bool counts_as_sample(std::size_t bytes) noexcept;
/// Enters what was allocated, and may be null. \return p
void* book(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept;
/// Before a block is freed. \return false if it was a boot block, which is freed now
bool forget(void* p) noexcept;

}  // namespace mallard::interpose
