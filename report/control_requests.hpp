// SPDX-License-Identifier: Apache-2.0
// The host's end of the control channel: nothing of it exists until the report signal comes with a control
// request and ALLOC_CONTROL=1. The reporter thread then connects to the socket that the command made,
// satisfies itself that it is the same user's or root's, reads one line, acts and answers. The host's threads
// never wait.
#pragma once

#include <cstdint>

#include "base/lock.hpp"
#include "report/reporter.hpp"

namespace mallard::report {

/// Remembers that a command waits. What finds no room is dropped: the command sends its signal again.
/// \param number  in the name of the socket's directory
/// \param sender  process id that the signal came with
/// \context signal handler
void note_control(std::uint32_t number, int sender) noexcept;
bool control_waits() noexcept;
/// Drops what waits. \context signal handler, fork
void forget_control() noexcept;

/// Answers every command that waits, none for longer than kControlPatienceNs.
/// \param writing  held while something is done, never while a command is waited for: an exit waits for it
/// \context reporter
void serve_control(const Served& served, Lock& writing) noexcept;

}  // namespace mallard::report
