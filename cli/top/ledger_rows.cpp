// SPDX-License-Identifier: Apache-2.0
#include "cli/top/ledger_rows.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mallard::cli {
namespace {

/// What reports call unexplained, and print in any case, is a row from here on.
constexpr double kUnexplainedShare = 0.001;

}  // namespace

LedgerRows::Bytes& LedgerRows::of(const std::string& cause) {
  const auto found =
      std::find_if(known_.begin(), known_.end(), [&](const Bytes& b) { return b.cause == cause; });
  if (found != known_.end()) return *found;
  known_.push_back({cause, 0, 0});
  return known_.back();
}

void LedgerRows::add(const LedgerReading& reading) {
  // A heap that was one line and is several now has not moved.
  if (reading.divided != divided_ || reading.allocator != allocator_) forget_changes();
  divided_ = reading.divided;
  allocator_ = reading.allocator;
  if (!has_base_) known_.clear();
  at_ = reading.at_seconds;
  resident_ = reading.resident;
  if (!has_base_) base_at_ = at_, base_resident_ = resident_;
  change_ = resident_ - base_resident_;
  has_last_change_ = has_last_;

  std::vector<LedgerReading::Line> lines = reading.lines;
  double rest = reading.resident;
  for (const LedgerReading::Line& line : lines) rest -= line.bytes;
  lines.push_back({kUnexplainedRow, std::abs(rest) < kUnexplainedShare * reading.resident ? 0 : rest});
  rows_.clear();
  for (const LedgerReading::Line& line : lines) {
    Bytes& known = of(std::string(line.cause));
    if (!has_base_) known.base = line.bytes;
    CauseRow row;
    row.cause = known.cause;
    row.bytes = line.bytes;
    row.share = resident_ > 0 ? line.bytes / resident_ : 0;
    row.change = line.bytes - known.base;
    row.last_change = has_last_ ? line.bytes - known.last : 0;
    known.last = line.bytes;
    // One that was there stays, so that its end is seen.
    if (row.bytes != 0 || row.change != 0 || row.last_change != 0) rows_.push_back(row);
  }
  has_base_ = has_last_ = true;
}

const std::vector<CauseRow>& LedgerRows::sort(bool by_change) {
  const auto key = [by_change](const CauseRow& row) {
    return std::tuple(by_change ? -row.change : -row.bytes, -row.bytes, row.cause);
  };
  std::sort(rows_.begin(), rows_.end(), [key](const CauseRow& a, const CauseRow& b) { return key(a) < key(b); });
  return rows_;
}

}  // namespace mallard::cli
