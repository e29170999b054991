// SPDX-License-Identifier: Apache-2.0
// The figures of call sites that --fail-on knows.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

#include "cli/diff/changes.hpp"
#include "cli/report/report_file.hpp"

namespace mallard::cli {

struct SiteFigure {
  std::string_view name;
  const char* words;
  Figure ReportSite::*figure;
  Change SiteChange::*change;
};
inline constexpr SiteFigure kSiteFigures[] = {
    {"resident", "resident memory", &ReportSite::resident_bytes, &SiteChange::resident_bytes},
    {"holes", "pinned holes", &ReportSite::hole_bytes, &SiteChange::hole_bytes},
    {"live", "live memory", &ReportSite::live_bytes, &SiteChange::live_bytes},
    {"allocated", "allocated memory", &ReportSite::allocated_bytes, &SiteChange::allocated_bytes},
    {"count", "live blocks", &ReportSite::live_count, &SiteChange::live_count}};

/// nullptr = there is none of that name.
inline const SiteFigure* site_figure(std::string_view name) {
  const auto* found = std::find_if(std::begin(kSiteFigures), std::end(kSiteFigures),
                                   [&](const SiteFigure& f) { return f.name == name; });
  return found == std::end(kSiteFigures) ? nullptr : found;
}

}  // namespace mallard::cli
