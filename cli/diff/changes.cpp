// SPDX-License-Identifier: Apache-2.0
#include "cli/diff/changes.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace mallard::cli {
namespace {

/// Half the width of a 95 % interval is 1.96 standard deviations. A figure without an interval comes from few
/// samples: each stands for about `step`, so that the variance of their sum is value * step, and not seeing
/// any leaves the error of one.
double variance_of(const Figure& f, double step) {
  if (f.low && f.high) {
    const double deviation = (*f.high - *f.low) / (2 * 1.96);
    return deviation * deviation;
  }
  return std::max(f.value, step) * step;
}

Change change(const Figure& before, const Figure& after, double step) {
  return {before.value, after.value, std::sqrt(variance_of(before, step) + variance_of(after, step))};
}

/// What one sample stands for in a figure, from how the figure relates to the bytes that are sampled.
double step_of(const Figure& before, const Figure& after, const Figure& bytes_before,
               const Figure& bytes_after, double sample_bytes) {
  const double bytes = bytes_before.value + bytes_after.value, value = before.value + after.value;
  return bytes > 0 && value > 0 ? sample_bytes * value / bytes : sample_bytes;
}

/// A site that a sampled report does not have may be there unseen; one that an exact report does not have is
/// not there, or leads by no figure.
const ReportSite& missing(bool exact) {
  static const ReportSite kUnseen, kNone = [] {
    ReportSite s;
    for (const report::FigureFacts& f : report::kFigures) f.of(s).low = f.of(s).high = 0;
    return s;
  }();
  return exact ? kNone : kUnseen;
}

SiteChange change_of(const ReportSite* before, const ReportSite* after, double sample_bytes,
                     bool before_exact, bool after_exact) {
  const ReportSite& a = before ? *before : missing(before_exact);
  const ReportSite& b = after ? *after : missing(after_exact);
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

Changes compare(const ReportFile& before, const ReportFile& after) {
  Changes out;
  for (const ReportFile::Line& line : after.ledger)
    for (const ReportFile::Line& old : before.ledger)
      if (old.cause == line.cause) out.ledger.push_back({line.cause, change(old.bytes, line.bytes, 0)});
  const double sample_bytes =
      std::max(before.is_exact() ? 0 : before.sample_bytes, after.is_exact() ? 0 : after.sample_bytes);
  const auto site_change = [&](const ReportSite* a, const ReportSite* b) {
    return change_of(a, b, sample_bytes, before.is_exact(), after.is_exact());
  };
  std::map<std::string, const ReportSite*> old_sites;
  for (const ReportSite& site : before.sites) old_sites.emplace(site.key, &site);
  for (const ReportSite& site : after.sites) {
    const auto old = old_sites.find(site.key);
    out.sites.push_back(site_change(old == old_sites.end() ? nullptr : old->second, &site));
    if (old != old_sites.end()) old_sites.erase(old);
  }
  for (const auto& [key, site] : old_sites) out.sites.push_back(site_change(site, nullptr));
  return out;
}

}  // namespace mallard::cli
