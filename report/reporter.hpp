// SPDX-License-Identifier: Apache-2.0
// The reporter thread takes and writes the reports that are asked for. It is created by a request and ends
// when there is none left, so that a process which is never asked stays single-threaded if it was.
#pragma once

#include <cstdint>

#include "report/model/served.hpp"

namespace mallard::report {

/// \context init
void configure(const Served& served) noexcept;

/// Asks for a report. Requests that come while one is waiting coalesce with it.
/// \param purge  the report is to try out a purge (probe.hpp)
/// \context signal handler
void request(bool purge) noexcept;
/// A command waits to control the process (control_requests.hpp). Ignored unless ALLOC_CONTROL=1.
/// \context signal handler
void request_control(std::uint32_t number, int sender) noexcept;
/// True if a request waits and no thread is there to serve it. \context signal handler
bool needs_thread() noexcept;
/// True while there is one. \context signal handler
bool has_thread() noexcept;
/// Creates the thread. \return false, after a line on stderr, if pthread_create fails
/// \context where pthread_create may be called; see interpose/safe_point.hpp
bool start_thread() noexcept;
/// Drops waiting requests: the thread cannot be created. \context signal handler
void forget_requests() noexcept;

/// Waits for a report that is being written, writes one that was asked for and not begun, and one more if it
/// is wanted, from the calling thread. \context exit
void at_exit(bool report_wanted) noexcept;

void after_fork_in_child() noexcept;

}  // namespace mallard::report
