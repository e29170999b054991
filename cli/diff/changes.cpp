// SPDX-License-Identifier: Apache-2.0
#include "cli/diff/changes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace mallard::cli {
namespace {

/// Half the width of a 95 % interval is 1.96 standard deviations. A figure without an interval comes from few
/// samples: each stands for about `step`, so that the variance of their sum is value * step, and not seeing
/// any leaves the error of one.
double variance_of(const report::Estimate& f, double step) {
  if (f.has_interval) {
    const double deviation = (f.high - f.low) / (2 * 1.96);
    return deviation * deviation;
  }
  return std::max(f.value, step) * step;
}

Change change(const report::Estimate& before, const report::Estimate& after, double step) {
  return {before.value, after.value, std::sqrt(variance_of(before, step) + variance_of(after, step))};
}

/// What one sample stands for in a figure, from how the figure relates to the bytes that are sampled.
double step_of(const report::Estimate& before, const report::Estimate& after,
               const report::Estimate& bytes_before, const report::Estimate& bytes_after,
               double sample_bytes) {
  const double bytes = bytes_before.value + bytes_after.value, value = before.value + after.value;
  return bytes > 0 && value > 0 ? sample_bytes * value / bytes : sample_bytes;
}

/// A site that a sampled report does not have may be there unseen; one that an exact report does not have is
/// not there, or leads by no figure.
const report::SiteRow& missing(bool exact) {
  static const report::SiteRow kUnseen{}, kNone = [] {
    report::SiteRow row{};
    for (const report::FigureFacts& f : report::kFigures) f.of(row) = report::counted(0);
    return row;
  }();
  return exact ? kNone : kUnseen;
}

/// Equal stacks have equal keys, in every report of the same binaries.
std::string key_of(const report::SiteRow& row) {
  std::string key;
  for (const report::Frame* f : stack_of(row))
    key += f->module.empty() ? fmt::format("{:#x}\n", f->pc)
                             : fmt::format("{}+{:#x}\n", f->module, f->module_address);
  return key;
}

SiteChange change_of(const report::SiteRow* before, const report::SiteRow* after, double sample_bytes,
                     bool before_exact, bool after_exact) {
  const report::SiteRow& a = before ? *before : missing(before_exact);
  const report::SiteRow& b = after ? *after : missing(after_exact);
  SiteChange out;
  out.before = before;
  out.after = after;
  for (const report::FigureFacts& f : report::kFigures) {
    const report::FigureFacts& bytes = sampled_by(f);
    const double step =
        f.is_exact_only() ? 0 : step_of(f.of(a), f.of(b), bytes.of(a), bytes.of(b), sample_bytes);
    f.of(out) = change(f.of(a), f.of(b), step);
  }
  return out;
}

}  // namespace

const report::FigureFacts& sampled_by(const report::FigureFacts& f) {
  return report::facts_of(f.kind == report::FigureKind::kAllocated ? report::SiteFigure::kAllocated
                                                                   : report::SiteFigure::kLive);
}

Changes changes_between(const ReportFile& before, const ReportFile& after) {
  Changes out;
  for (const ReportFile::Line& line : after.ledger)
    for (const ReportFile::Line& old : before.ledger)
      if (old.cause == line.cause) out.ledger.push_back({line.cause, change(old.bytes, line.bytes, 0)});
  const auto step_of = [](const ReportFile& r) { return r.is_exact() ? 0 : r.data.recording.sample_bytes; };
  const auto sample_bytes = static_cast<double>(std::max(step_of(before), step_of(after)));
  const auto site_change = [&](const report::SiteRow* a, const report::SiteRow* b) {
    return change_of(a, b, sample_bytes, before.is_exact(), after.is_exact());
  };
  std::map<std::string, const report::SiteRow*> old_sites;
  for (const report::SiteRow& site : sites_of(before.data)) old_sites.emplace(key_of(site), &site);
  for (const report::SiteRow& site : sites_of(after.data)) {
    const auto old = old_sites.find(key_of(site));
    out.sites.push_back(site_change(old == old_sites.end() ? nullptr : old->second, &site));
    if (old != old_sites.end()) old_sites.erase(old);
  }
  for (const auto& [key, site] : old_sites) out.sites.push_back(site_change(site, nullptr));
  return out;
}

}  // namespace mallard::cli
