// SPDX-License-Identifier: Apache-2.0
// Reports taken in the background, so that the screen goes on meanwhile.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "cli/report/report_file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {

class LedgerWatch {
 public:
  /// Takes a report, unless `stop` is set meanwhile. \throws Error
  using Take = std::function<ReportFile(const std::atomic<bool>& stop)>;
  explicit LedgerWatch(Take take) : take_(std::move(take)) {}
  ~LedgerWatch();
  LedgerWatch(const LedgerWatch&) = delete;
  LedgerWatch& operator=(const LedgerWatch&) = delete;

  bool is_busy() const { return busy_; }
  void ask();  ///< nothing, if it is busy
  /// The report that has come since the last call; none if none has, or if asking failed: then *error says
  /// why.
  std::optional<ReportFile> take_report(std::string* error);
  double took_seconds();  ///< of the last report that was taken

 private:
  const Take take_;
  std::thread thread_;
  std::atomic<bool> busy_{false}, stop_{false};
  std::mutex lock_;
  std::optional<ReportFile> report_;
  std::string error_;
  double took_seconds_ = 0;
};

/// From outside, or, of a process whose memory may not be read, by its signal. \throws Error
ReportFile take_ledger(const Target& target, const std::atomic<bool>& stop);

/// "live 16 %, holes 69 %, ...": the causes with most of the resident memory.
std::string ledger_text(const ReportFile& report);

}  // namespace mallard::cli
