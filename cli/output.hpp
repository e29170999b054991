// SPDX-License-Identifier: Apache-2.0
// All that the command writes to standard output and standard error goes through here: names of other users'
// processes, paths and functions are bytes that somebody else chose, and root's terminal would obey them.
// tests/style/check_output.py holds this.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace mallard::cli {

/// As printable() does, but lines stay lines.
std::string clean_lines(std::string_view text);

/// The same JSON, with what steers terminals written as \u009b.
std::string clean_json(std::string_view json);

/// That a file can be written to, before work is done for it; it is made if need be. \throws Error
/// (kUnreadable)
void check_writable(const std::string& path);
/// To a file, whole. \throws Error (kUnreadable) if it cannot be written
void write_file(const std::string& path, std::string_view content);

/// To standard output: text, JSON, or bytes that are no text (or have their own escapes) and were made here.
/// What fails is seen by main.
void print_text(std::string_view text);
void print_json(std::string_view json);
void print_bytes(std::string_view bytes);

/// To standard error, behind "mallard: ": one line, whatever names are in it, or several.
void tell_line(std::string_view line);
void tell_lines(std::string_view lines);
#if FMT_VERSION >= 80000
template <typename... Parts>
using Format = fmt::format_string<Parts...>;
#else
/// Debian 11's fmt has none that is checked when it is compiled.
template <typename... Parts>
using Format = std::string_view;
#endif
template <typename... Parts>
void tell(Format<Parts...> format, Parts&&... parts) {
  tell_line(fmt::format(format, std::forward<Parts>(parts)...));
}
template <typename... Parts>
void print(Format<Parts...> format, Parts&&... parts) {
  print_text(fmt::format(format, std::forward<Parts>(parts)...));
}

}  // namespace mallard::cli
