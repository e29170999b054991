// SPDX-License-Identifier: Apache-2.0
// What a running process can be asked for, and how: the report signal carries a value that says what is
// wanted. A report needs no more. `mallard mode` and `mallard purge` want an answer: they listen on a socket
// in a private directory, whose name holds a number that nobody can guess, and send that number with the
// signal; the reporter thread connects, reads one line, acts, and answers one line: docs/control.md.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/options.hpp"
#include "base/text.hpp"

namespace mallard {

// Values of the report signal, four letters each. Signals with these values are mallard's: the host's own
// handler never sees them, because some hosts, such as the JVM, abort on a signal that they did not send
// themselves. Any other value asks for a report, too, and is the host's as well.

/// "dump": a report.
inline constexpr int kReportRequest = 0x64756d70;
/// "purg": a report with a purge. `kill -USR2 -q 1886745191 PID` asks for one.
inline constexpr int kPurgeRequest = 0x70757267;
/// "ctrl": a command listens. It is the low half of the value; the high half is the number in the directory's
/// name.
inline constexpr int kControlRequest = 0x6374726c;

inline constexpr std::size_t kMaxControlRequest = 64;   ///< bytes of the request, its newline included
inline constexpr std::size_t kMaxControlAnswer = 4096;  ///< bytes of the answer, its newline included
/// The host waits so long for the request.
inline constexpr std::uint64_t kControlPatienceNs = 2'000'000'000;

enum class ControlVerb : std::uint8_t { kMode, kPurge };

enum class Timing : std::uint8_t { kAsItIs, kBegins, kEnds };

struct ControlRequest {
  ControlVerb verb;
  bool switches;  ///< kMode: to `mode`; false: it stays
  Mode mode;
  Timing timing;  ///< kMode: of calls, beside whatever mode is in force
};

/// What follows `mode` for these.
inline constexpr std::string_view kBeginTiming = "latency", kEndTiming = "latency=off";

/// Reads a request with its newline. \param why_not  one clause, if it is none \return false if it is none
bool parse_control(std::string_view line, ControlRequest* out, const char** why_not) noexcept;

/// The mode as ALLOC_MODE takes it.
std::string_view mode_name(Mode mode) noexcept;

/// The directories in which the socket's may lie, in the order of search. The first may be relative or too
/// long for a socket's address: then it is left out. \return nullptr at the end
const char* control_directory(const Options& options, int index) noexcept;
/// Name of the socket's own directory in one of those.
void add_control_name(TextBuffer& to, int process_id, std::uint32_t number) noexcept;
inline constexpr const char* kControlSocket = "control";

}  // namespace mallard
