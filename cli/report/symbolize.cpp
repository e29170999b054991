// SPDX-License-Identifier: Apache-2.0
#include "cli/report/symbolize.hpp"

#include <algorithm>
#include <tuple>

#include "cli/report/module_file.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {
namespace {

/// Frames of call sites, one module after the other, their addresses in ascending order.
std::vector<report::Frame*> frames_of_sites(ReportFile* report,
                                            std::span<const report::SiteRow* const> sites) {
  std::vector<bool> used(report->frames.size());
  for (const report::SiteRow* row : sites)
    for (const report::Frame* f : stack_of(*row))
      used[static_cast<std::size_t>(f - report->frames.data())] = true;
  std::vector<report::Frame*> out;
  for (std::size_t i = 0; i < used.size(); ++i)
    if (used[i] && report->frames[i].module.starts_with('/')) out.push_back(&report->frames[i]);
  std::sort(out.begin(), out.end(), [](const report::Frame* a, const report::Frame* b) {
    return std::tie(a->module_index, a->module_address) < std::tie(b->module_index, b->module_address);
  });
  return out;
}

}  // namespace

std::vector<std::string> symbolize(ReportFile* report, std::span<const report::SiteRow* const> sites) {
  std::vector<std::string> notes;
  const std::vector<report::Frame*> frames = frames_of_sites(report, sites);
  for (auto at = frames.begin(); at != frames.end();) {
    const int module = (*at)->module_index;
    const auto end = std::find_if(at, frames.end(), [&](const auto* f) { return f->module_index != module; });
    const ModuleFile file(report->data.modules[static_cast<std::size_t>(module)]);
    if (!file.note().empty()) notes.push_back(file.note());
    if (file.is_open()) file.symbolize({at, end}, &report->storage);
    at = end;
  }
  name_sites(report, {});
  return notes;
}

std::vector<std::string> symbolize(ReportFile* report) {
  std::vector<const report::SiteRow*> all;
  for (const report::SiteRow& row : sites_of(report->data)) all.push_back(&row);
  for (const report::SiteRow& row : report->data.latency.stacks) all.push_back(&row);
  return symbolize(report, all);
}

std::vector<const report::SiteRow*> leading_sites(const report::Snapshot& report) {
  const auto figure = report.ledger.divided ? &report::SiteRow::resident_bytes : &report::SiteRow::live_bytes;
  std::vector<const report::SiteRow*> sites;
  for (const report::SiteRow& row : sites_of(report)) sites.push_back(&row);
  const auto shown = sites.begin() + static_cast<std::ptrdiff_t>(std::min(sites.size(), report::kBriefLines));
  std::partial_sort(sites.begin(), shown, sites.end(), [figure](const auto* a, const auto* b) {
    return (a->*figure).value > (b->*figure).value;
  });
  sites.erase(shown, sites.end());
  return sites;
}

}  // namespace mallard::cli
