// SPDX-License-Identifier: Apache-2.0
#include "cli/top/model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mallard::cli {
namespace {

constexpr double kNormal95 = 1.96;
constexpr double kFewSamples = 10;  // as in reports

SiteBooks site_of(const Books& books, std::size_t i) {
  return i < books.sites.size() ? books.sites[i] : SiteBooks{};
}

/// What was added to a running sum. Smaller than before: it began anew, with the books.
Sum added(const Sum& before, const Sum& now, double seconds) {
  const bool anew = now.value < before.value;
  const double variance = anew ? now.variance : now.variance - before.variance;
  return {(anew ? now.value : now.value - before.value) / seconds,
          std::max(0.0, variance) / (seconds * seconds)};
}

Sum growth_of(const SiteBooks& base, const SiteBooks& now, bool ages_known) {
  const double value = now.live_bytes.value - base.live_bytes.value;
  const double all = now.live_bytes.variance + base.live_bytes.variance;
  // Blocks that are in both readings have the same error in both: only those that came or went count.
  return {value, ages_known ? std::max(0.0, all - 2 * now.old_bytes.variance) : all};
}

}  // namespace

std::string error_of(const Sum& sum) {
  const double size = std::abs(sum.value);
  if (!(size > 0)) return "";
  if (size * size < kFewSamples * sum.variance) return "±?";
  const double percent = 100 * kNormal95 * std::sqrt(sum.variance) / size;
  return fmt::format("±{:.{}f} %", percent, percent < 10 ? 1 : 0);
}

void TopModel::add(const Books& books, const Vitals& vitals, bool ages_known) {
  // Counts are not compared with estimates, nor with those of books that have ended.
  if (books.exact_epoch != last_.exact_epoch) has_base_ = has_last_ = false;
  if (!has_base_) {
    base_ = books;
    for (SiteBooks& site : base_.sites) site.old_bytes = site.live_bytes;
    base_seconds_ = vitals.at_seconds;
    old_ns_ = books.newest_ns;
  }
  const double seconds = vitals.at_seconds - vitals_.at_seconds;
  totals_ = {};
  totals_.has_rates = has_last_ && seconds > 0;
  totals_.growth_seconds = vitals.at_seconds - base_seconds_;
  rows_.clear();
  for (std::size_t i = 0; i < books.sites.size(); ++i) {
    // At the moment of the base every block is old.
    SiteBooks now = books.sites[i];
    if (!has_base_) now.old_bytes = now.live_bytes;
    const SiteBooks base = site_of(base_, i), before = site_of(last_, i);
    TopRow row;
    row.site = static_cast<std::uint32_t>(i);
    row.live = now.live_bytes;
    row.live_count = now.live_count;
    row.growth = growth_of(base, now, ages_known);
    if (totals_.has_rates) {
      row.allocated_rate = added(before.allocated_bytes, now.allocated_bytes, seconds);
      row.count_rate = added({before.allocated_count, 0}, {now.allocated_count, 0}, seconds).value;
    }
    totals_.live.add(row.live);
    totals_.live_count += row.live_count;
    totals_.growth.add(row.growth);
    totals_.allocated_rate.add(row.allocated_rate);
    totals_.count_rate += row.count_rate;
    if (row.live.value > 0 || now.allocated_bytes.value > 0) rows_.push_back(row);
  }
  if (totals_.has_rates) totals_.vitals = rates_between(vitals_, vitals);
  last_ = books;
  vitals_ = vitals;
  has_base_ = has_last_ = true;
}

void TopModel::set_ledger(const ReportFile& report) {
  resident_.clear();
  for (const report::SiteRow& row : sites_of(report.data)) resident_[row.id] = row.resident_bytes.value;
}

const std::vector<TopRow>& TopModel::sort(TopSort by) {
  for (TopRow& row : rows_) {
    const auto found = resident_.find(row.site);
    row.resident = found == resident_.end() ? std::nullopt : std::optional<double>(found->second);
  }
  const auto key = [by](const TopRow& r) {
    const double first = by == TopSort::kGrowth      ? r.growth.value
                         : by == TopSort::kAllocated ? r.allocated_rate.value
                         : by == TopSort::kCount     ? r.count_rate
                         : by == TopSort::kResident  ? r.resident.value_or(-1)
                                                     : r.live.value;
    return std::tuple(-first, -r.live.value, r.site);
  };
  std::sort(rows_.begin(), rows_.end(), [key](const TopRow& a, const TopRow& b) { return key(a) < key(b); });
  return rows_;
}

Books books_of(const ReportFile& report) {
  const auto sum = [](const report::Estimate& f) {
    // Without an interval there were too few samples: a variance that says so.
    const double error = f.has_interval ? (f.high - f.value) / kNormal95 : std::abs(f.value);
    return Sum{f.value, error * error};
  };
  Books books;
  books.mode = report::mode_of(report.data.recording);
  books.sample_bytes = static_cast<double>(report.data.recording.sample_bytes);
  for (const report::SiteRow& s : sites_of(report.data)) {
    if (s.id > 1 << 22) continue;
    if (books.sites.size() <= s.id) books.sites.resize(s.id + 1);
    books.sites[s.id] = {
        sum(s.live_bytes), sum(s.allocated_bytes), s.live_count.value, s.allocated_count.value, {}};
  }
  return books;
}

}  // namespace mallard::cli
