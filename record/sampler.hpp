// SPDX-License-Identifier: Apache-2.0
// Which allocations become samples: a Poisson process over allocated bytes. Each allocation counts as
// size + kBiasBytes; gaps between samples are exponential with mean T, so an allocation is drawn with
// p = 1 - exp(-(size + bias) / T), independently of all others, and stands for 1 / p allocations
// (Horvitz and Thompson, 1952).
#pragma once

#include <cstdint>

#include "arch/hot_exports.h"
#include "base/math.hpp"
#include "base/parts.hpp"
#include "record/thread_state.hpp"

namespace mallard::record {

inline constexpr std::uint64_t kBiasBytes = MALLARD_SAMPLE_BIAS;

/// Begins sampling with a mean gap of `mean_bytes`; 0 = record nothing. \context init
void sampler_init(std::uint64_t mean_bytes) noexcept;
std::uint64_t sampler_mean_bytes() noexcept;
bool sampler_adopt(const OtherParts& parts) noexcept;  ///< \context offline

/// Subtracts the allocation from the thread's countdown, as the assembly of the hot exports does.
/// \return true if decide() has to be asked
inline bool count(std::uint64_t size) noexcept {
  ThreadState& t = mallard_thread;
  return __builtin_sub_overflow(t.countdown, size + kBiasBytes, &t.countdown);
}

/// The countdown of this thread ran below zero by an allocation of `size` bytes, already subtracted.
/// Draws the next gap.
/// \return true if the allocation is a sample
/// \context hot (slow path)
bool decide(std::uint64_t size) noexcept;

/// Draws the thread's gap anew, which changes nothing: exponential gaps have no memory. \context hot (slow
/// path)
void restart_countdown() noexcept;

/// How many allocations of `size` bytes one sample of that size stands for: 1 / p, at least 1.
double weight_of(std::uint64_t size) noexcept;

/// Gives the calling thread, which was forked, a random sequence of its own.
void reseed_after_fork() noexcept;

}  // namespace mallard::record
