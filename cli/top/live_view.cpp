// SPDX-License-Identifier: Apache-2.0
#include "cli/top/live_view.hpp"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "cli/output.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {

LiveView::State LiveView::run_batch() {
  while (request_.iterations == 0 || request_.readings < request_.iterations) {
    const State state = read();
    if (state == State::kTurned) return state;
    // What was asked for is waited for: a script cannot press a key.
    while (state == State::kThere && waits() && !is_gone(request_.pid)) usleep(10'000);
    update();
    if (state == State::kGone) return state;
    if (request_.readings++ > 0) print("\n");
    for (const Line& line : batch_lines()) {
      std::string text = line.text;
      text.erase(text.find_last_not_of(' ') + 1);
      print("{}\n", text);
    }
    if (std::fflush(stdout) != 0) break;  // nobody reads on
    if (request_.iterations == 0 || request_.readings < request_.iterations)
      usleep(static_cast<useconds_t>(request_.delay_seconds * 1e6));
  }
  return is_gone(request_.pid) ? State::kGone : State::kThere;
}

LiveView::State LiveView::run_terminal(Terminal& terminal) {
  while (Terminal::ending_signal() == 0) {
    if (now_seconds() >= next_reading_) {
      if (request_.iterations > 0 && request_.readings == request_.iterations) break;
      next_reading_ = now_seconds() + request_.delay_seconds;
      if (const State state = read(); state != State::kThere) return state;
      ++request_.readings;
    }
    update();
    show(terminal);
    // In slices: a report may come, and the ledger's age goes on.
    const double wait = std::clamp(next_reading_ - now_seconds(), 0.0, 0.5);
    const KeyPress p = terminal.key(static_cast<int>(wait * 1000) + 1);
    if (p.key != Key::kNone && !press(terminal, p)) break;
  }
  return State::kThere;
}

bool LiveView::press(Terminal& terminal, const KeyPress& p) {
  const bool leaves = p.key == Key::kEnter || p.key == Key::kEscape || p.character == 'q';
  if (page_ == Page::kHelp) {
    if (p.key != Key::kResize) page_ = Page::kMain;
    return true;
  }
  if (page_ == Page::kDetail && leaves) {
    page_ = Page::kMain;
    first_line() = 0;
    return true;
  }
  if (steps_of(p.key, 1) != 0) scroll(terminal, p.key);
  if (p.key == Key::kEnter && find_detail()) {
    page_ = Page::kDetail;
    first_line() = 0;
  }
  if (p.key != Key::kCharacter) return true;
  if (p.character == 'q') return false;
  if (p.character == 'h' || p.character == '?') page_ = Page::kHelp;
  else press_character(terminal, p.character);
  return true;
}

std::string LiveView::ask_delay(Terminal& terminal, std::size_t row) {
  const std::string word = terminal.ask(
      row, fmt::format("Time between readings, in seconds (now {:g}): ", request_.delay_seconds));
  char* end = nullptr;
  const double seconds = std::strtod(word.c_str(), &end);
  if (word.empty()) return {};
  if (*end != '\0' || !(seconds >= 0.1 && seconds <= 86400))
    return fmt::format("'{}' cannot be used: expected is a number of seconds from 0.1 to 86400", word);
  request_.delay_seconds = seconds;
  read_at_once();
  return {};
}

long steps_of(Key key, std::size_t page_lines) {
  constexpr long kEverything = 1L << 30;
  const long page = static_cast<long>(page_lines);
  const std::pair<Key, long> steps[] = {{Key::kUp, -1},
                                        {Key::kDown, 1},
                                        {Key::kPageUp, -page},
                                        {Key::kPageDown, page},
                                        {Key::kHome, -kEverything},
                                        {Key::kEnd, kEverything}};
  for (const auto& [moves, rows] : steps)
    if (key == moves) return rows;
  return 0;
}

std::string clock_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[16];
  return std::strftime(text, sizeof text, "%T", &parts) ? text : "";
}

}  // namespace mallard::cli
