// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL, in such a way that no sleep of the host ends early. A process of one thread looks whether a report is
// due while it runs, by a timer of processor time; it stays one of one thread, which sandboxes insist on. In one of
// several a thread of mallard's own sleeps from one report to the next.
#pragma once

#include <cstdint>

namespace mallard::report {

/// Processor time after which to look for the first time, and again where it could not be done: at the next tick.
inline constexpr std::uint64_t kIntervalSoonNs = 4'000'000;

/// Whether there is an interval: the first report is due after one. \context init, fork
bool interval_begins() noexcept;

struct IntervalLook {
  bool ask;               ///< a report is due
  bool create_thread;     ///< the process has other threads: start_interval_thread()
  bool busy;              ///< it has hardly waited since the last look
  std::uint64_t next_ns;  ///< processor time after which to look again; 0 = no more
};
/// \context signal handler, while there is no reporter thread
IntervalLook look_at_interval() noexcept;

/// Creates the thread, which has every signal blocked, shares the host's descriptors and opens none.
/// \return false, after a line on standard error, if it could not be created
/// \context where pthread_create may be called; see interpose/safe_point.hpp
bool start_interval_thread() noexcept;

/// The thread has not come along. \context fork
void interval_after_fork_in_child() noexcept;

}  // namespace mallard::report
