// SPDX-License-Identifier: Apache-2.0
// The terminal of mallard top: ncurses, put back as it was on every way out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/top/terminal_signals.hpp"
#include "cli/top/screen.hpp"

namespace mallard::cli {

enum class Key { kNone, kUp, kDown, kPageUp, kPageDown, kHome, kEnd, kEnter, kEscape, kResize, kCharacter };

struct KeyPress {
  Key key = Key::kNone;
  char character = 0;  ///< of kCharacter
};

class Terminal {
 public:
  /// \throws Error if standard input or output is no terminal, or one that cannot be used
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  std::size_t width() const;
  std::size_t height() const;
  void show(const std::vector<Line>& lines);
  /// Waits for a key for at most so long. kNone: none came, or a signal did.
  KeyPress key(int milliseconds);
  /// Asks for a word in line `row`; empty = none.
  std::string ask(std::size_t row, const std::string& question);
  /// A signal that wants the command to end; 0 = none has come.
  static int ending_signal();

 private:
  void* screen_;
  std::unique_ptr<TerminalSignals> signals_;
  bool coloured_;
};

}  // namespace mallard::cli
