// SPDX-License-Identifier: Apache-2.0
#include "cli/top/terminfo.hpp"

#include <initializer_list>

#include <unistd.h>

#define NCURSES_NOMACROS
#include <curses.h>
#include <term.h>

namespace mallard::cli {
namespace {

/// \return nullptr if the terminal has no such thing
const char* capability(const char* name) {
  const char* text = tigetstr(name);
  return text == reinterpret_cast<char*>(-1) ? nullptr : text;
}

std::string g_out;  // tputs hands characters to a bare function
void add(const char* text) {
  if (!text) return;
  tputs(text, 1, [](int c) {
    g_out += static_cast<char>(c);
    return c;
  });
}

}  // namespace

TerminalKind kind_of_terminal(const char* type) {
  int found = 0;
  if (setupterm(type, STDOUT_FILENO, &found) != OK) return TerminalKind::kUnknown;
  const bool moves = capability("cup") && capability("clear");
  del_curterm(cur_term);
  return moves ? TerminalKind::kScreen : TerminalKind::kNoScreen;
}

std::string text_to_leave(int last_line) {
  g_out.clear();
  if (const char* move = capability("cup")) add(tparm(move, static_cast<long>(last_line), 0L));
  for (const char* name : {"sgr0", "op", "rmkx", "cnorm", "rmcup"}) add(capability(name));
  return g_out;
}

}  // namespace mallard::cli
