// SPDX-License-Identifier: Apache-2.0
// What single calls are timed with: the processor's counter where it runs at one rate and the kernel trusts
// it for its own clock, else the kernel's clock. Readings are in ticks, whose length is known the better the
// longer ago the clock was started.
#pragma once

#include <time.h>

#include <cstdint>

#include "arch/ticks.hpp"
#include "base/attributes.hpp"

namespace mallard {
class OtherParts;
}

namespace mallard::record {

/// clock_gettime as the kernel itself provides it to programs (the vdso): no other library can be in between.
using KernelClock = int(clockid_t, timespec*);

/// Chooses the clock and finds out what reading it twice takes. Takes some 0.3 ms, with what asks for a tick
/// then. \param kernel_clock  nullptr: a system call takes its place \context init, reporter
void latency_clock_start(KernelClock* kernel_clock) noexcept;

/// "tsc", "clock_gettime", or "clock_gettime, a system call". \context reporter
const char* latency_clock_name() noexcept;
/// The length of a tick in nanoseconds, as far as it can be told by now. \context reporter
double latency_tick_ns() noexcept;
/// Measures again what reading the clock twice takes: a busy neighbour of the processor made it look longer
/// than it is. \context reporter
void latency_clock_refine() noexcept;
/// What is measured of nothing at all, the least so far: is subtracted from each call. In ticks.
std::uint64_t latency_clock_own_ticks() noexcept;

/// That of another process becomes ours. \return false if it cannot be read \context offline
bool latency_clock_adopt(const OtherParts& parts) noexcept;

namespace clock {
extern bool g_uses_ticks __attribute__((visibility("hidden")));
std::uint64_t kernel_ns() noexcept;
}  // namespace clock

/// Before and after the call that is timed. \context hot
inline std::uint64_t time_before() noexcept {
  return MALLARD_LIKELY(clock::g_uses_ticks) ? arch::ticks_before() : clock::kernel_ns();
}
inline std::uint64_t time_after() noexcept {
  return MALLARD_LIKELY(clock::g_uses_ticks) ? arch::ticks_after() : clock::kernel_ns();
}

}  // namespace mallard::record
