// SPDX-License-Identifier: Apache-2.0
#include "record/latency_clock.hpp"

#include <sys/prctl.h>

#include <algorithm>
#include <atomic>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/text.hpp"
#include "base/times.hpp"

namespace mallard::record {

namespace clock {
constinit bool g_uses_ticks = false;
}  // namespace clock

namespace {

constinit KernelClock* g_kernel_clock = nullptr;
constinit std::atomic<std::uint64_t> g_own_ticks{0};

/// The same moment by both clocks.
struct Moment {
  std::uint64_t ticks, ns;
};
constinit Moment g_started{};

MALLARD_PART(clock_is_tsc, clock::g_uses_ticks);
MALLARD_PART(clock_own, g_own_ticks);
MALLARD_PART(clock_started, g_started);

/// The best of several readings: the one during which least time went by.
Moment moment() noexcept {
  constexpr int kTries = 5;
  Moment best{};
  std::uint64_t least = UINT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    const std::uint64_t before = time_before(), ns = clock::kernel_ns(), after = time_after();
    if (after - before >= least) continue;
    least = after - before;
    best = {before + least / 2, ns};
  }
  return best;
}

/// The kernel has checked the counter against other clocks, and drops it where it strays.
bool kernel_trusts_ticks() noexcept {
  char name[32];
  const long length =
      os::read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", name, sizeof name);
  return length > 0 && view_of(name) == "tsc\n";
}

/// A program can have the kernel forbid it to read the counter.
bool ticks_are_allowed() noexcept {
  int state = 0;
  return os::call(SYS_prctl, PR_GET_TSC, os::arg(&state)) == 0 && state == PR_TSC_ENABLE;
}

/// The lower quartile of many measurements of nothing at all: what else goes on on the processor makes some
/// longer.
std::uint64_t measured_of_nothing() noexcept {
  constexpr int kTries = 257, kWarm = 64;
  std::uint64_t taken[kTries];
  for (int i = -kWarm; i < kTries; ++i) {
    const std::uint64_t before = time_before(), after = time_after();
    if (i >= 0) taken[i] = after - before;
  }
  std::sort(taken, taken + kTries);
  return taken[kTries / 4];
}

/// So that a tick's length is known to a thousandth.
void wait_until(std::uint64_t ns) noexcept {
  while (clock::kernel_ns() < ns) {
  }
}

}  // namespace

std::uint64_t clock::kernel_ns() noexcept {
  timespec now;
  if (!g_kernel_clock || g_kernel_clock(CLOCK_MONOTONIC, &now) != 0) return os::monotonic_ns();
  return ns_of(now);
}

void latency_clock_start(KernelClock* kernel_clock) noexcept {
  g_kernel_clock = kernel_clock;
  clock::g_uses_ticks = arch::has_steady_ticks() && ticks_are_allowed() && kernel_trusts_ticks();
  g_started = moment();
  g_own_ticks.store(measured_of_nothing());
}

void latency_clock_refine() noexcept {
  const std::uint64_t now = measured_of_nothing();
  if (now < g_own_ticks.load(std::memory_order_relaxed)) g_own_ticks.store(now);
}

const char* latency_clock_name() noexcept {
  return clock::g_uses_ticks ? "tsc" : g_kernel_clock ? "clock_gettime" : "clock_gettime, a system call";
}

double latency_tick_ns() noexcept {
  if (!clock::g_uses_ticks) return 1;
  constexpr std::uint64_t kLeastNs = 300'000;
  wait_until(g_started.ns + kLeastNs);
  const Moment now = moment();
  return static_cast<double>(now.ns - g_started.ns) / static_cast<double>(now.ticks - g_started.ticks);
}

std::uint64_t latency_clock_own_ticks() noexcept { return g_own_ticks.load(std::memory_order_relaxed); }

bool latency_clock_adopt(const OtherParts& parts) noexcept {
  return parts.adopt(clock::g_uses_ticks) && parts.adopt(g_own_ticks) && parts.adopt(g_started);
}

}  // namespace mallard::record
