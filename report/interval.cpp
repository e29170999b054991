// SPDX-License-Identifier: Apache-2.0
#include "report/interval.hpp"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

#include <atomic>

#include "base/older.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "record/thread_state.hpp"
#include "report/facts/thread_times.hpp"
#include "report/own_threads.hpp"
#include "report/reporter.hpp"

namespace mallard::report {
namespace {

/// So that a process which nobody looks after does not fill the disk.
constexpr std::uint32_t kMaxIntervalReports = 1000;
/// What the thread's code needs, creating the reporter's included.
constexpr std::size_t kStackBytes = 32 * 1024;
constexpr std::uint64_t kSecond = 1'000'000'000;

MALLARD_FORK_DATA constinit std::atomic<bool> g_begun{false};
MALLARD_FORK_DATA constinit void* g_stack = nullptr;
MALLARD_FORK_DATA constinit std::size_t g_stack_bytes = 0;

void sleep_until(std::uint64_t ns) noexcept {
  const timespec at{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  while (os::call(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, os::arg(&at), 0) == -EINTR) {
  }
}

void* run(void*) noexcept {
  prctl(PR_SET_NAME, "mallard");
  leave_out_this_thread();
  const record::InRecording in_recording;  // what libc allocates for the reporter's thread is not the host's
  const std::uint64_t step = options().interval.ns;
  std::uint64_t next = os::monotonic_ns();
  for (std::uint32_t asked = 0; asked < kMaxIntervalReports; ++asked) {
    next += step;
    // A process that was stopped gets one report for all that it missed.
    const std::uint64_t now = os::monotonic_ns();
    if (next < now) next += (now - next) / step * step;
    sleep_until(next);
    report::request(false);
    if (needs_thread()) start_thread();
  }
  say::interval_ended(kMaxIntervalReports);
  return nullptr;
}

}  // namespace

bool interval_needs_thread() noexcept { return options().interval.ns != 0 && !g_begun.load(); }

bool start_interval_thread() noexcept {
  if (g_begun.exchange(true)) return true;
  const std::size_t bytes = own_stack_bytes(kStackBytes);
  void* stack = os::map(bytes);  // of mallard's own memory, so that the stack stands there in the ledger
  if (!stack) {
    say::reporter_not_started("there is no room for a stack of the thread of ALLOC_INTERVAL");
    return false;
  }
  g_stack = stack;
  g_stack_bytes = bytes;
  if (create_own_thread(run, stack, bytes)) return true;
  os::unmap(stack, bytes);
  g_stack = nullptr;
  return false;
}

MALLARD_FORK_TEXT void interval_after_fork_in_child() noexcept {
  if (g_stack) os::unmap(g_stack, g_stack_bytes);
  g_stack = nullptr;
  g_begun.store(false);
}

}  // namespace mallard::report
