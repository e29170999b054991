// SPDX-License-Identifier: Apache-2.0
// A symbolized report, cut to what was asked for, and the formats that it is written in.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/report/report_file.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {

struct Profile {
  const ReportFile* file;
  report::Snapshot report;                    ///< the file's, with the sites that --focus and --depth leave
  const report::FigureFacts* by;              ///< sites are ranked by it
  std::vector<const report::SiteRow*> sites;  ///< of the report, largest first
  std::size_t sites_left_out = 0;             ///< by --limit
  std::size_t sites_unfocused = 0;            ///< by --focus
  bool depth_given = false;                   ///< --depth says how much of a stack is wanted

  bool is_exact() const { return report.recording.exact.on; }
  /// Whether the report has the figure, of all sites.
  bool has(const report::FigureFacts& f) const {
    if (f.figure == report::SiteFigure::kAtPeak) return report.peak.known;
    return is_exact() || !(f.is_exact_only() || f.may_be_untold());
  }
  /// Where a site of `sites`, or a frame of its stack, stands in the report's document.
  std::size_t index_of(const report::SiteRow& row) const {
    return static_cast<std::size_t>(&row - report.sites);
  }
  std::size_t index_of(const report::Frame& f) const {
    return static_cast<std::size_t>(&f - report.frames.data());
  }
};

/// Figures may be anything in a file that nobody vouches for.
std::int64_t whole(double value);
/// The functions whose code an address is, innermost first: never none.
std::vector<report::SourceLine> lines_of(const report::Frame& frame);
/// Function, or module+address where it has no name.
std::string label_of(const Profile& profile, const report::Frame& frame, const report::SourceLine& line);

std::string as_text(const Profile& profile, const report::TextLayout& layout);
/// As the library writes it, without the totals of as_text().
std::string report_text(const report::Snapshot& report, const report::TextLayout& layout);
/// The lines of a stack as reports show them: the function that names the site first.
std::vector<std::string> stack_lines(const report::Snapshot& report, const report::SiteRow& row);
/// Place of the function that names a site among all functions of its stack, inlined ones included.
std::size_t naming_index(const report::SiteRow& row);
/// That function's label; "no stack" without one.
std::string naming_label(const Profile& profile, const report::SiteRow& row);
/// \param document  the report as it was read
std::string as_json(const Profile& profile, nlohmann::ordered_json document);
std::string as_folded(const Profile& profile);
std::string as_csv(const Profile& profile);
std::string as_speedscope(const Profile& profile);
/// Compressed by gzip.
std::string as_pprof(const Profile& profile);
/// \param document  the report as it was read
/// \param series    points of the same process's reports (series.hpp)
std::string as_html(const Profile& profile, nlohmann::ordered_json document, nlohmann::ordered_json series);

}  // namespace mallard::cli
