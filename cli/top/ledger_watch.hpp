// SPDX-License-Identifier: Apache-2.0
// Reports taken in the background, so that the screen goes on meanwhile: from outside, or of a process whose
// memory may not be read by its signal.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "cli/report/report_file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {

class LedgerWatch {
 public:
  explicit LedgerWatch(const Target& target) : target_(target) {}
  ~LedgerWatch();
  LedgerWatch(const LedgerWatch&) = delete;
  LedgerWatch& operator=(const LedgerWatch&) = delete;

  bool is_busy() const { return busy_; }
  void ask();  ///< nothing, if it is busy
  /// The report that has come since the last call; none if none has, or if asking failed: then *error says
  /// why.
  std::optional<ReportFile> take_report(std::string* error);

 private:
  ReportFile take() const;

  const Target& target_;
  std::thread thread_;
  std::atomic<bool> busy_{false}, stop_{false};
  std::mutex lock_;
  std::optional<ReportFile> report_;
  std::string error_;
};

/// "live 16 %, holes 69 %, ...": the causes with most of the resident memory.
std::string ledger_text(const ReportFile& report);

}  // namespace mallard::cli
