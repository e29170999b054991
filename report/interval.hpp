// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL: a thread of mallard's own sleeps from one report to the next and asks for each. A timer's
// signal would end the sleep of a host instead, each time.
#pragma once

namespace mallard::report {

/// Creates the thread, which has every signal blocked, shares the host's descriptors and opens none.
/// \return false, after a line on standard error, if it could not be created
/// \context where pthread_create may be called; see interpose/safe_point.hpp
bool start_interval_thread() noexcept;
/// True until it has been created, or could not be. \context signal handler
bool interval_needs_thread() noexcept;

/// The thread has not come along. \context fork
void interval_after_fork_in_child() noexcept;

}  // namespace mallard::report
