// SPDX-License-Identifier: Apache-2.0
// One run of mallard top: reads, shows, and does what the keys say.
#pragma once

#include <memory>
#include <unordered_map>

#include "cli/top/books_reader.hpp"
#include "cli/error.hpp"
#include "cli/top/ledger_watch.hpp"
#include "cli/top/process_symbols.hpp"
#include "cli/top/terminal.hpp"
#include "cli/top/model.hpp"
#include "cli/top/screen.hpp"

namespace mallard::cli {

struct TopRequest {
  int pid = 0, iterations = 0, rows = 20;
  bool batch = false;
  double delay_seconds = 2, ledger_seconds = 0;
  TopSort sort = TopSort::kLive;
};

class TopSession {
 public:
  /// \throws Error if the process cannot be looked at
  explicit TopSession(const TopRequest& request);
  ExitStatus run();

 private:
  enum class Page { kMain, kStack, kHelp };

  bool read();  ///< \return false if the process is gone
  void take_ledger();
  void ask_ledger();
  void describe_ledger();
  std::vector<std::string> stack_of(std::uint32_t site);
  ExitStatus run_batch();
  ExitStatus run_terminal();
  void show(Terminal& terminal);
  bool press(Terminal& terminal, const KeyPress& press);  ///< \return false to quit
  void press_character(Terminal& terminal, char c);
  void sort_by(TopSort sort);
  void ask_delay(Terminal& terminal);
  void scroll(long by);

  TopRequest request_;
  Target target_;
  std::unique_ptr<RemoteBooks> books_;  ///< null: the memory may not be read; reports take its place
  std::string why_reports_;
  ProcessSymbols symbols_;
  LedgerWatch ledger_;
  std::unique_ptr<ReportFile> report_;  ///< the last ledger's
  double report_at_ = 0, asked_at_ = 0;
  std::unordered_map<std::uint32_t, std::vector<std::string>> stacks_;
  TopModel model_;
  TopView view_;
  Page page_ = Page::kMain;
  std::size_t shown_height_ = 0;
  std::uint32_t shown_site_ = 0;
  double next_reading_ = 0;
};

}  // namespace mallard::cli
