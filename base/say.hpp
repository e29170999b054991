// SPDX-License-Identifier: Apache-2.0
// Everything that the library says on stderr, one function per message, one write(2) each.
// Silent where descriptor 2 may be something else than stderr by now, say a data file that the host opened
// after closing it, and where nobody reads it. What is no error of what the user asked for is a notice: it
// goes to a terminal, or anywhere with ALLOC_VERBOSE=1, and else waits for `mallard check PID`. \context any
// thread, signal handlers; keeps errno
#pragma once

#include <cstdint>

#include "base/text.hpp"

namespace mallard::say {

/// Remembers what descriptor 2 is. \context init
void remember_stderr() noexcept;

void bad_option(const char* variable, const char* value, const char* expected, const char* instead) noexcept;
void unknown_variable(std::string_view name, std::string_view meant) noexcept;
void contradiction(std::string_view what, std::string_view why) noexcept;
void refused_to_start() noexcept;
void backend_unusable(std::string_view backend, std::string_view why, std::string_view hint) noexcept;
void backend_chosen(std::string_view name, std::string_view version, std::string_view path) noexcept;
void bypassed(std::string_view owner) noexcept;
/// \param observed  it goes on serving, and its calls are recorded
void taken_over(std::string_view what, bool observed, std::size_t entries) noexcept;
/// \param what  may be empty \param observed  that was asked for
void not_taken_over(std::string_view what, bool observed, std::string_view why, std::string_view hint) noexcept;
void jemalloc_calls_not_led(std::string_view serves) noexcept;
void sanitizer_present() noexcept;
void misaligning_backend(std::string_view version) noexcept;
void deepbind_cleared() noexcept;
void text_not_patched(std::string_view why) noexcept;
void nothing_recorded() noexcept;
void exact_unusable(std::string_view why) noexcept;
void latency_unusable(std::string_view why) noexcept;
void out_of_boot_memory() noexcept;
void no_bad_alloc() noexcept;

/// What the library last failed at when it was asked for a report, for the command that asked (it finds the
/// mark in the writable data of libmallard.so): it need not wait, and can say why.
struct LastFailure {
  char mark[24];
  std::uint32_t count;  ///< of failures
  char text[500];       ///< of the last one
};
inline constexpr char kFailureMark[24] = "mallard's failure: 1";

/// All notices, each with its newline, for `mallard check`, which finds the mark in the writable data of
/// libmallard.so.
struct Notices {
  char mark[24];
  std::uint32_t bytes;  ///< of text
  char text[4000];
};
inline constexpr char kNoticesMark[24] = "mallard's notices: 1";

/// The text of the last failure; empty: there was none. \context offline
std::string_view last_failure() noexcept;

void report_written(std::string_view path_without_extension) noexcept;
void report_elsewhere(std::string_view wanted, std::string_view why, std::string_view instead) noexcept;
void report_failed(std::string_view path, std::string_view why) noexcept;
void interval_ended(unsigned reports) noexcept;
void reporter_not_started(std::string_view why) noexcept;

/// What the kernel's error means, in words, for the errors that files and memory give.
std::string_view error_text(long negated_errno) noexcept;

}  // namespace mallard::say
