// SPDX-License-Identifier: Apache-2.0
// Reports on a terminal: within its columns, with what matters set off, and with the verdict last, where it
// has scrolled away. Pipes and files get the text as it is.
#pragma once

#include <cstddef>
#include <string>

namespace mallard::cli {

/// Without a limit where the descriptor is no terminal.
std::size_t terminal_columns(int fd);

/// A terminal, and neither NO_COLOR nor TERM=dumb.
bool wants_colour(int fd);

/// Tables lose blanks between their columns, and other lines are broken at words, below the beginning of
/// their text. \param text  UTF-8
std::string fitted(const std::string& text, std::size_t columns);

/// Headings, and what a verdict names, in bold.
std::string set_off(const std::string& text);

/// Replaces the line that standard error, a terminal, shows last; empty takes it away.
void show_status(const std::string& line);

/// Prints a report to standard output.
void print_report_text(const std::string& text);

}  // namespace mallard::cli
