// SPDX-License-Identifier: Apache-2.0
// The processor's clock, for intervals of nanoseconds. A port without one that runs at the same rate on all
// processors says so, and the kernel's clock is asked instead.
#pragma once

#include <cpuid.h>

#include <cstdint>

namespace mallard::arch {

/// Whether the counter runs at one rate whatever the processor does, and can be read in order.
inline bool has_steady_ticks() noexcept {
  constexpr unsigned kFeatures = 0x80000001, kPower = 0x80000007;
  constexpr unsigned kReadInOrder = 1u << 27, kInvariant = 1u << 8;  // rdtscp, invariant TSC: in edx
  unsigned a, b, c, d;
  if (__get_cpuid(kFeatures, &a, &b, &c, &d) == 0 || (d & kReadInOrder) == 0) return false;
  return __get_cpuid(kPower, &a, &b, &c, &d) != 0 && (d & kInvariant) != 0;
}

/// Reads the counter once what comes before has been done. \context hot
inline std::uint64_t ticks_before() noexcept {
  std::uint32_t low, high;
  __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
  return std::uint64_t{high} << 32 | low;
}
/// Reads it once what comes before has been done; what comes after begins when it has been read. \context hot
inline std::uint64_t ticks_after() noexcept {
  std::uint32_t low, high;
  __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high) : : "rcx", "memory");
  return std::uint64_t{high} << 32 | low;
}

}  // namespace mallard::arch
