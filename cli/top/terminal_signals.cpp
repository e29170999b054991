// SPDX-License-Identifier: Apache-2.0
#include "cli/top/terminal_signals.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>

namespace mallard::cli {
namespace {

volatile sig_atomic_t g_ending = 0, g_stop = 0, g_goes_on = 0;
std::atomic<bool> g_taken_over{false};  // there is something to put back
struct sigaction g_former[NSIG];
termios g_before;
char g_leaving_text[512];  // what the terminal is sent to leave the screen
std::size_t g_leaving_size = 0;
alignas(16) char g_handler_stack[32 * 1024];

/// As endwin() does it, which is not for signal handlers. \context any, also a signal handler
void put_back() {
  if (!g_taken_over.exchange(false)) return;
  // In the background it is another's by now; -1: it controls nobody.
  const pid_t foreground = tcgetpgrp(STDOUT_FILENO);
  if (foreground != -1 && foreground != getpgrp()) return;
  // Without IXON what Ctrl-S has held up goes on; else it would hold us up, too.
  termios running = g_before;
  running.c_iflag &= ~static_cast<tcflag_t>(IXON);
  tcsetattr(STDIN_FILENO, TCSANOW, &running);
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  if (poll(&output, 1, 100) == 1 && (output.revents & POLLOUT))
    while (write(STDOUT_FILENO, g_leaving_text, g_leaving_size) < 0 && errno == EINTR) {
    }
  tcsetattr(STDIN_FILENO, TCSANOW, &g_before);
}

/// Its action is the default again when this runs: a signal that was sent comes again, a fault is repeated.
void on_deadly(int number) {
  const int saved_errno = errno;
  put_back();
  raise(number);
  errno = saved_errno;
}

void on_request_to_end(int number) {
  if (g_ending != 0) {
    std::signal(number, SIG_DFL);
    on_deadly(number);
  }
  g_ending = number;
}

bool is_request_to_end(int number) {
  return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
}

bool is_harmless(int number) {
  constexpr int kHarmless[] = {SIGCHLD, SIGURG, SIGWINCH, SIGTTIN, SIGTTOU, SIGKILL, SIGSTOP};
  return std::find(std::begin(kHarmless), std::end(kHarmless), number) != std::end(kHarmless);
}

/// ncurses has put its own in the place of the default for these.
bool is_curses_own(int number) { return number == SIGINT || number == SIGTERM || number == SIGTSTP; }

void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigfillset(&action.sa_mask);
  sigaction(number, &action, nullptr);
}

void handle_stop() {
  handle(
      SIGTSTP, [](int) { g_stop = 1; }, 0);
}

}  // namespace

TerminalSignals::TerminalSignals(const termios& before, const std::string& leave) {
  g_before = before;
  g_leaving_size = leave.copy(g_leaving_text, sizeof g_leaving_text);
  stack_t stack{};
  stack.ss_sp = g_handler_stack;
  stack.ss_size = sizeof g_handler_stack;
  sigaltstack(&stack, nullptr);
  g_taken_over = true;
  for (int number = 1; number < NSIG; ++number) {
    if (is_harmless(number) || sigaction(number, nullptr, &g_former[number]) != 0) continue;
    if (g_former[number].sa_handler == SIG_IGN) continue;
    if (g_former[number].sa_handler != SIG_DFL && !is_curses_own(number)) continue;
    if (number == SIGTSTP) handle_stop();
    else if (number == SIGCONT)
      handle(
          number, [](int) { g_goes_on = 1; }, SA_RESTART);
    else if (is_request_to_end(number)) handle(number, on_request_to_end, 0);
    else handle(number, on_deadly, static_cast<int>(SA_ONSTACK | SA_RESETHAND));
  }
}

TerminalSignals::~TerminalSignals() {
  g_taken_over = false;
  for (int number = 1; number < NSIG; ++number) {
    if (is_harmless(number)) continue;
    if (is_curses_own(number) && g_former[number].sa_handler != SIG_IGN) std::signal(number, SIG_DFL);
    else sigaction(number, &g_former[number], nullptr);
  }
}

int TerminalSignals::ending() { return g_ending; }
void TerminalSignals::end_with(int signal) { g_ending = signal; }
bool TerminalSignals::asks_to_stop() { return g_stop != 0; }

void TerminalSignals::stop() {
  g_taken_over = false;
  std::signal(SIGTSTP, SIG_DFL);
  std::raise(SIGTSTP);
  handle_stop();
  g_stop = 0;
  g_goes_on = 0;
  g_taken_over = true;
}

StopHeldBack::StopHeldBack() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  sigprocmask(SIG_BLOCK, &stop, &before_);
}

StopHeldBack::~StopHeldBack() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

bool TerminalSignals::goes_on() {
  const bool goes_on = g_goes_on != 0;
  g_goes_on = 0;
  return goes_on;
}

}  // namespace mallard::cli
