// SPDX-License-Identifier: Apache-2.0
// mallard top of a process without mallard: its ledger, taken from outside at each reading.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/top/inspected_screen.hpp"
#include "cli/top/ledger_rows.hpp"
#include "cli/top/ledger_watch.hpp"
#include "cli/top/live_view.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {

class InspectedSession : public LiveView {
 public:
  /// \throws Error if the process may not be looked at
  explicit InspectedSession(TopRequest& request);

 private:
  State read() override;
  bool waits() const override;
  void update() override;
  std::vector<Line> batch_lines() override;
  void show(Terminal& terminal) override;
  bool find_detail() override { return true; }
  void scroll(const Terminal& terminal, Key key) override;
  void press_character(Terminal& terminal, char c) override;
  std::size_t& first_line() override { return view_.first; }

  void meet_program();
  bool is_due() const;
  void take(ReportFile report);
  void describe_ledger();
  std::vector<std::string> inspection(std::size_t width);

  LedgerWatch watch_;
  std::unique_ptr<outside::OtherProcess> program_;  ///< that ran at the last reading
  InspectedView view_;
  LedgerRows rows_;
  std::unique_ptr<ReportFile> report_;  ///< the last ledger's
  double report_at_ = 0, took_ = 0, asked_at_ = 0;  ///< seconds
  bool is_asked_ = false;      ///< by a key
  std::string why_no_sites_;  ///< and what to do
  std::string changed_;       ///< that another program runs in it
};

}  // namespace mallard::cli
