// SPDX-License-Identifier: Apache-2.0
// What the hot exports do in each mode. Their first instruction is at least 5 bytes long, so that one jump
// can stand in its place: off jumps past recording, exact to functions that book every call, sample
// has the instruction itself. A mode is put in force by moving a patched copy over the exports' pages in one
// step (patch.hpp): no thread ever sees half an instruction. The exports that are not hot ask the flags
// below.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/options.hpp"
#include "record/duties.hpp"

namespace mallard::interpose {

using record::Duty, record::kCounts, record::kBooksExactly, record::kUnbooksExactly, record::kTimes;
/// What an allocation or free has to do, in the mode in force. Code of the architecture knows it by that name.
extern constinit std::atomic<std::uint32_t> duties __asm__("mallard_duties") __attribute__((visibility("hidden")));

inline bool has_duty(Duty duty) noexcept { return (duties.load(std::memory_order_relaxed) & duty) != 0; }

inline bool unbooks_exactly() noexcept { return has_duty(kUnbooksExactly); }

/// \return the mode in force
Mode mode() noexcept;
/// \return why that is off, one clause and what to do; nullptr in other modes
const char* why_off() noexcept;

/// Switches the running process. sample -> exact begins exact books, and sampling goes on underneath; leaving
/// off begins empty books. \param why_not  set to one clause if it fails; then nothing has changed
/// \return false if it cannot be done
/// \context reporter
bool switch_mode(Mode to, const char** why_not) noexcept;

/// Begins to time calls, or ends it, beside whatever mode is in force. \param why_not  as of switch_mode()
/// \return false if it cannot be done \context reporter
bool switch_timing(bool on, const char** why_not) noexcept;
bool is_timing() noexcept;

/// Puts the first mode in force, once the backend serves and sampling has begun.
/// \param serves  false: malloc belongs to somebody else, nothing is ever recorded or timed
/// \param why_untimed  one clause, if calls were to be timed and are not
/// \return false, with one clause in *why_not, if the mode had to become another one
/// \context init
bool start_mode(Mode wanted, bool serves, const char** why_not, const char** why_untimed) noexcept;

/// Hold the mode around a fork. They are called outside of the books' own handlers.
void mode_before_fork() noexcept;
void mode_after_fork_in_parent() noexcept;
void mode_after_fork_in_child() noexcept;

}  // namespace mallard::interpose
