// SPDX-License-Identifier: Apache-2.0
// A symbolized report, cut to what was asked for, and the formats that it is written in.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/report/places.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {

/// A figure of call sites, by which they are ranked.
struct Measure {
  const char* name;  ///< of --by
  report::Table table;
  const char* words;  ///< for headings
  bool is_bytes;
  Figure ReportSite::*figure;
  double ReportFile::OtherSites::*others;  ///< nullptr: peaks of several sites do not add up
  bool exact_only = false;                 ///< only reports of exact mode know it
};
inline constexpr Measure kMeasures[] = {
    {"resident", report::Table::kResident, "resident memory, holes included", true, &ReportSite::resident_bytes,
     &ReportFile::OtherSites::resident_bytes},
    {"holes", report::Table::kHoles, "pinned holes", true, &ReportSite::hole_bytes,
     &ReportFile::OtherSites::hole_bytes},
    {"live", report::Table::kLive, "live bytes", true, &ReportSite::live_bytes,
     &ReportFile::OtherSites::live_bytes},
    {"allocated", report::Table::kAllocated, "allocated bytes", true, &ReportSite::allocated_bytes,
     &ReportFile::OtherSites::allocated_bytes},
    {"count", report::Table::kLiveCount, "live blocks", false, &ReportSite::live_count,
     &ReportFile::OtherSites::live_count},
    {"temporary", report::Table::kTemporary, "temporary allocations", false, &ReportSite::temporary_count,
     &ReportFile::OtherSites::temporary_count, true},
    {"peak", report::Table::kPeak, "peak bytes", true, &ReportSite::peak_bytes, nullptr, true}};

struct Profile {
  const ReportFile* report;
  const Measure* by;
  std::vector<PlacedSite> sites;    ///< largest first
  std::size_t sites_left_out = 0;   ///< by --limit
  std::size_t sites_unfocused = 0;  ///< by --focus
  bool depth_given = false;         ///< --depth says how much of a stack is wanted
};

/// Figures may be anything in a file that nobody vouches for.
std::int64_t whole(double value);
/// Function, or module+address where it has no name.
std::string label_of(const Profile& profile, const Place& place, const SourceLine& line);

/// \param document  the report as it was read
std::string as_text(const Profile& profile, const nlohmann::ordered_json& document,
                    const report::TextLayout& layout);
/// \param document  the report as it was read
std::string as_json(const Profile& profile, nlohmann::ordered_json document);
std::string as_folded(const Profile& profile);
std::string as_csv(const Profile& profile);
std::string as_speedscope(const Profile& profile);
/// Compressed by gzip.
std::string as_pprof(const Profile& profile);
/// \throws Error (kUsage) if this mallard was built without the page
void require_html();
/// \param document  the report as it was read
/// \param series    reports of the same process, oldest first; the profile's own may be among them
std::string as_html(const Profile& profile, nlohmann::ordered_json document,
                    const std::vector<ReportFile>& series);

}  // namespace mallard::cli
