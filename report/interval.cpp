// SPDX-License-Identifier: Apache-2.0
#include "report/interval.hpp"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>

#include "base/attributes.hpp"
#include "base/older.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/times.hpp"
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

/// By CLOCK_MONOTONIC and by the processor time of the process.
struct Times {
  std::uint64_t wall_ns, ran_ns;
};
constinit std::uint64_t g_due_ns = 0;
constinit Times g_looked{};
constinit std::uint32_t g_asked = 0;
MALLARD_FORK_DATA constinit void* g_stack = nullptr;  ///< of the thread
MALLARD_FORK_DATA constinit std::size_t g_stack_bytes = 0;

Times times_now() noexcept { return {os::monotonic_ns(), os::process_work_ns()}; }

/// A process that was stopped, or slept, gets one report for all that it missed.
void next_is_due_after(std::uint64_t now) noexcept {
  const std::uint64_t step = options().interval.ns;
  g_due_ns += step;
  if (g_due_ns <= now) g_due_ns += ((now - g_due_ns) / step + 1) * step;
}

/// \return false if the interval has asked for all the reports that it may
bool may_ask() noexcept {
  if (g_asked < kMaxIntervalReports) return ++g_asked;
  say::interval_ended(kMaxIntervalReports);
  return false;
}

/// How much of the time since the last look the process has run, in thousandths.
std::uint64_t share_of_time(const Times& now) noexcept {
  const std::uint64_t passed = std::max<std::uint64_t>(1, now.wall_ns - g_looked.wall_ns);
  return std::min<std::uint64_t>(1000, (now.ran_ns - g_looked.ran_ns) * 1000 / passed);
}

/// As much as the process will have run until the next report is due, if it goes on as since the last look; and never so
/// much that one which runs less from now on is forgotten for long.
std::uint64_t until_next_look(const Times& now) noexcept {
  const std::uint64_t most = std::max(kIntervalSoonNs, options().interval.ns / 50);
  return std::clamp((g_due_ns - now.wall_ns) / 1000 * share_of_time(now), kIntervalSoonNs, most);
}

void sleep_until(std::uint64_t ns) noexcept {
  const timespec at = timespec_of(ns);
  while (os::call(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, os::arg(&at), 0) == -EINTR) {
  }
}

void* run(void*) noexcept {
  prctl(PR_SET_NAME, "mallard");
  leave_out_this_thread();
  const record::InRecording in_recording;  // what libc allocates for the reporter's thread is not the host's
  for (sleep_until(g_due_ns); may_ask(); sleep_until(g_due_ns)) {
    report::request(false);
    if (needs_thread()) start_thread();
    next_is_due_after(os::monotonic_ns());
  }
  return nullptr;
}

}  // namespace

MALLARD_FORK_TEXT bool interval_begins() noexcept {
  if (options().interval.ns == 0) return false;
  g_looked = times_now();
  g_due_ns = g_looked.wall_ns + options().interval.ns;
  g_asked = 0;
  return true;
}

IntervalLook look_at_interval() noexcept {
  if (os::thread_count() > 1) return {false, true, false, 0};
  const Times now = times_now();
  const bool is_due = now.wall_ns >= g_due_ns;
  if (is_due) {
    if (!may_ask()) return {false, false, false, 0};
    next_is_due_after(now.wall_ns);
  }
  constexpr std::uint64_t kBusy = 900;
  const IntervalLook look{is_due, false, share_of_time(now) > kBusy, until_next_look(now)};
  g_looked = now;
  return look;
}

bool start_interval_thread() noexcept {
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
}

}  // namespace mallard::report
