// SPDX-License-Identifier: Apache-2.0
// What signals do to a terminal that mallard top has taken over: it is put back before the command dies or
// stops, whatever the signal, also if the command hangs or crashes just then.
#pragma once

#include <termios.h>

#include <csignal>
#include <string>

namespace mallard::cli {

class TerminalSignals {
 public:
  /// Handles the signals that would end or stop the command, except ignored ones. To be made after ncurses
  /// has set its handlers.
  /// \param before  the terminal's settings before ncurses changed them
  /// \param leave   what it has to be sent to leave the screen
  TerminalSignals(const termios& before, const std::string& leave);
  /// Puts the former actions back.
  ~TerminalSignals();
  TerminalSignals(const TerminalSignals&) = delete;
  TerminalSignals& operator=(const TerminalSignals&) = delete;

  /// A signal that asks the command to end (the keyboard's, SIGTERM, SIGHUP); 0 = none has come. A second one
  /// ends it at once.
  static int ending();
  static void end_with(int signal);  ///< as if it had come
  /// Whether SIGTSTP has come since the last call.
  static bool asks_to_stop();
  /// Stops the command, as SIGTSTP does, and comes back when it goes on. The caller has put the terminal back.
  static void stop();
  /// Whether the command was stopped and goes on, since the last call.
  static bool goes_on();
};

/// Holds SIGTSTP back while it lives. ncurses ignores it while it paints, and what is ignored is lost; what is
/// blocked comes afterwards.
class StopHeldBack {
 public:
  StopHeldBack();
  ~StopHeldBack();
  StopHeldBack(const StopHeldBack&) = delete;
  StopHeldBack& operator=(const StopHeldBack&) = delete;

 private:
  sigset_t before_;
};

}  // namespace mallard::cli
