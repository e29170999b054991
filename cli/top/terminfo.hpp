// SPDX-License-Identifier: Apache-2.0
// What the terminal database says of a terminal; apart, because term.h makes macros of common words.
#pragma once

#include <string>

namespace mallard::cli {

enum class TerminalKind {
  kUnknown,
  kNoScreen,  ///< it prints line after line ("dumb"): its cursor cannot be moved
  kScreen,
};

/// \param type  of the variable TERM
TerminalKind kind_of_terminal(const char* type);

/// What the terminal has to be sent to leave a screen of ncurses, without pauses: as endwin() does, but as a
/// text that a signal handler can write. ncurses must have taken the terminal over.
/// \param last_line  from 0, for terminals without a screen to go back to
std::string text_to_leave(int last_line);

}  // namespace mallard::cli
