// SPDX-License-Identifier: Apache-2.0
// mallard top of a process with mallard: its call sites, and on request its ledger.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/top/books_reader.hpp"
#include "cli/top/ledger_watch.hpp"
#include "cli/top/live_view.hpp"
#include "cli/top/model.hpp"
#include "cli/top/process_symbols.hpp"
#include "cli/top/screen.hpp"
#include "cli/top/site_names.hpp"
#include "cli/top/terminal.hpp"

namespace mallard::cli {

class TopSession : public LiveView {
 public:
  /// \throws Error if the process cannot be looked at, NotPreloaded if nothing in it is recorded
  explicit TopSession(TopRequest& request);

 private:
  State read() override;
  bool waits() const override;
  void update() override;
  std::vector<Line> batch_lines() override;
  void show(Terminal& terminal) override;
  bool find_detail() override;
  void scroll(const Terminal& terminal, Key key) override;
  void press_character(Terminal& terminal, char c) override;
  std::size_t& first_line() override { return view_.first; }

  void take_ledger();
  void ask_ledger();
  void describe_ledger();
  using Telling = std::vector<std::string> (*)(const report::Snapshot&, const report::SiteRow&);
  std::vector<std::string> told_of(std::uint32_t site, Telling telling);
  const report::SiteRow* row_of(std::uint32_t site);
  void name_leading();
  void sort_by(TopSort sort);

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
  std::size_t shown_height_ = 0;
  std::uint32_t shown_site_ = 0;
  bool has_read_ = false;
};

}  // namespace mallard::cli
