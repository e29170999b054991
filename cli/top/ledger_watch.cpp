// SPDX-License-Identifier: Apache-2.0
#include "cli/top/ledger_watch.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/process/ask_report.hpp"
#include "cli/process/report_outside.hpp"
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
    const double began = now_seconds();
    try {
      report = take_(stop_);
    } catch (const std::exception& e) {
      error = e.what();
    }
    const std::lock_guard guard(lock_);
    report_ = std::move(report);
    error_ = error;
    took_seconds_ = now_seconds() - began;
    busy_ = false;
  });
}

std::optional<ReportFile> LedgerWatch::take_report(std::string* error) {
  const std::lock_guard guard(lock_);
  *error = std::exchange(error_, {});
  return std::exchange(report_, std::nullopt);
}

double LedgerWatch::took_seconds() {
  const std::lock_guard guard(lock_);
  return took_seconds_;
}

ReportFile take_ledger(const Target& target, const std::atomic<bool>& stop) {
  const OutsideReport taken = report_from_outside(target, {kTimeoutSeconds, {}, false, &stop});
  if (taken.taken) return parse_report(taken.json, fmt::format("the report of {}", target.who()));
  if (taken.became_another)
    throw Error(kUnreadable, fmt::format("{} became another program", target.who()));
  // Its signal is for processes whose memory may not be read, and for nobody once the screen is closed.
  if (target.is_attached || taken.is_odd || stop) throw Error(kUnreadable, taken.why_not);
  Target now = target;
  now.signal = read_report_signal(now.pid);
  check_signal(now, "a ledger");
  ReportWatch watch(now);
  return read_report(watch.ask(false, kTimeoutSeconds, &stop).path);
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
