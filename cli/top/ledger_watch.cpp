// SPDX-License-Identifier: Apache-2.0
#include "cli/top/ledger_watch.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/process/ask_report.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli {
namespace {
constexpr double kTimeoutSeconds = 60;
}

LedgerWatch::~LedgerWatch() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void LedgerWatch::ask() {
  if (busy_) return;
  if (thread_.joinable()) thread_.join();
  busy_ = true;
  thread_ = std::thread([this] {
    std::optional<ReportFile> report;
    std::string error;
    try {
      Target now = target_;
      now.signal = read_report_signal(now.pid);
      check_signal(now, "a ledger");
      ReportWatch watch(now);
      report = read_report(watch.ask(false, kTimeoutSeconds, &stop_).path);
    } catch (const std::exception& e) {
      error = e.what();
    }
    const std::lock_guard guard(lock_);
    report_ = std::move(report);
    error_ = error;
    busy_ = false;
  });
}

std::optional<ReportFile> LedgerWatch::take_report(std::string* error) {
  const std::lock_guard guard(lock_);
  *error = std::exchange(error_, {});
  return std::exchange(report_, std::nullopt);
}

std::string ledger_text(const ReportFile& report) {
  std::vector<ReportFile::Line> lines = report.ledger;
  if (lines.empty()) return "the process could not read its own mappings";
  std::sort(lines.begin(), lines.end(),
            [](const auto& a, const auto& b) { return a.bytes.value > b.bytes.value; });
  std::string text;
  for (const ReportFile::Line& line : lines) {
    const double percent = report.rss_bytes() > 0 ? 100 * line.bytes.value / report.rss_bytes() : 0;
    if (percent < 0.5) break;
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ",
                        printable(report::words_of_cause(line.cause)), percent);
  }
  return text;
}

}  // namespace mallard::cli
