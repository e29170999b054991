// SPDX-License-Identifier: Apache-2.0
// What mallard top does whatever it shows of a process: reads, shows, and does what the keys say, in turn.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "cli/top/model.hpp"
#include "cli/top/screen_parts.hpp"
#include "cli/top/terminal.hpp"

namespace mallard::cli {

struct TopRequest {
  int pid = 0, iterations = 0, rows = 20;
  bool batch = false;
  double delay_seconds = 2, ledger_seconds = 0;
  TopSort sort = TopSort::kLive;
  std::string wrappers;
  int readings = 0;  ///< made so far
};

class LiveView {
 public:
  enum class State {
    kThere,
    kGone,    ///< it has ended
    kTurned,  ///< it is a process for another view now
  };

  virtual ~LiveView() = default;
  LiveView(const LiveView&) = delete;
  LiveView& operator=(const LiveView&) = delete;

  /// \return kThere if it was ended by a key, a signal, or --iterations
  State run_batch();
  State run_terminal(Terminal& terminal);
  const std::string& who() const { return who_; }  ///< the process, as messages name it

 protected:
  explicit LiveView(TopRequest& request) : request_(request) {}

  virtual State read() = 0;
  virtual bool waits() const = 0;  ///< batch mode: for something that was asked for
  virtual void update() = 0;       ///< with what has come since
  virtual std::vector<Line> batch_lines() = 0;
  virtual void show(Terminal& terminal) = 0;
  virtual bool find_detail() = 0;  ///< that Enter shows, of what is selected \return false if there is none
  virtual void scroll(const Terminal& terminal, Key key) = 0;
  virtual void press_character(Terminal& terminal, char c) = 0;
  virtual std::size_t& first_line() = 0;  ///< that is shown of what scrolls

  void read_at_once() { next_reading_ = 0; }
  /// \return what to say of the answer; empty if there is nothing
  std::string ask_delay(Terminal& terminal, std::size_t row);

  enum class Page { kMain, kDetail, kHelp };

  TopRequest& request_;
  std::string who_;
  Page page_ = Page::kMain;

 private:
  bool press(Terminal& terminal, const KeyPress& press);  ///< \return false to quit

  double next_reading_ = 0;
};

/// How far a key that moves does; 0 for any other.
long steps_of(Key key, std::size_t page_lines);

/// "12:34:56"
std::string clock_text();

}  // namespace mallard::cli
