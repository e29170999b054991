// SPDX-License-Identifier: Apache-2.0
// One run of mallard top: reads, shows, and does what the keys say.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/error.hpp"
#include "cli/top/books_reader.hpp"
#include "cli/top/ledger_watch.hpp"
#include "cli/top/model.hpp"
#include "cli/top/process_symbols.hpp"
#include "cli/top/screen.hpp"
#include "cli/top/site_names.hpp"
#include "cli/top/terminal.hpp"

namespace mallard::cli {

struct TopRequest {
  int pid = 0, iterations = 0, rows = 20;
  bool batch = false;
  double delay_seconds = 2, ledger_seconds = 0;
  TopSort sort = TopSort::kLive;
  std::string wrappers;
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
  using Telling = std::vector<std::string> (*)(const report::Snapshot&, const report::SiteRow&);
  std::vector<std::string> told_of(std::uint32_t site, Telling telling);
  const report::SiteRow* row_of(std::uint32_t site);
  void name_leading();
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
  SiteNames names_;
  LedgerWatch ledger_;
  std::unique_ptr<ReportFile> report_;  ///< the last ledger's
  double report_at_ = 0, asked_at_ = 0;
  TopModel model_;
  TopView view_;
  Page page_ = Page::kMain;
  std::size_t shown_height_ = 0;
  std::uint32_t shown_site_ = 0;
  double next_reading_ = 0;
};

}  // namespace mallard::cli
