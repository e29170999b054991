// SPDX-License-Identifier: Apache-2.0
// What mallard top makes of readings: rates between the last two, growth since the first. Plain data in,
// plain data out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/top/books_reader.hpp"
#include "cli/report/report_file.hpp"
#include "cli/top/vitals.hpp"

namespace mallard::cli {

struct TopRow {
  std::uint32_t site = 0;
  Sum live, growth, allocated_rate;  ///< bytes; bytes; bytes per second
  double live_count = 0, count_rate = 0;
  std::optional<double> resident;  ///< bytes, of the last ledger
};

enum class TopSort { kLive, kGrowth, kAllocated, kCount, kResident };
/// Names of --sort, indexed by TopSort. The key of each is its first letter as a capital.
inline constexpr const char* kTopSortNames[] = {"live", "growth", "allocated", "count", "resident"};

/// Sums over all sites, and figures of the process.
struct TopTotals {
  Sum live, growth, allocated_rate;
  double live_count = 0, count_rate = 0;
  VitalRates vitals;
  bool has_rates = false;     ///< false after the first reading
  double growth_seconds = 0;  ///< since the reading that growth is counted from
};

class TopModel {
 public:
  /// Blocks born until then belong to the reading that growth is counted from; 0 before the first.
  std::uint64_t old_ns() const { return old_ns_; }
  /// \param ages_known  the reading told old blocks by old_ns(): growth then has only the error of what
  /// changed
  void add(const Books& books, const Vitals& vitals, bool ages_known);
  /// Without books yet.
  void set_vitals(const Vitals& vitals) { vitals_ = vitals; }
  void set_ledger(const ReportFile& report);
  /// Growth is counted from the next reading on.
  void forget_growth() { has_base_ = false; }

  const std::vector<TopRow>& sort(TopSort by);
  const TopTotals& totals() const { return totals_; }
  const Books& books() const { return last_; }
  const Vitals& vitals() const { return vitals_; }
  bool has_resident() const { return !resident_.empty(); }

 private:
  Books base_, last_;
  Vitals vitals_;
  double base_seconds_ = 0;
  std::uint64_t old_ns_ = 0;
  bool has_base_ = false, has_last_ = false;
  std::vector<TopRow> rows_;
  TopTotals totals_;
  std::unordered_map<std::uint32_t, double> resident_;
};

/// "±3 %", or "±?" where fewer than about ten samples stand behind the sum; empty for a sum of 0.
std::string error_of(const Sum& sum);
/// A report's sites as a reading, where the process's memory may not be read.
Books books_of(const ReportFile& report);

}  // namespace mallard::cli
