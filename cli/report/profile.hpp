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

struct Profile {
  const ReportFile* report;
  const report::FigureFacts* by;    ///< sites are ranked by it
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
