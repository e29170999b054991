// SPDX-License-Identifier: Apache-2.0
// What changed between two reports, and whether it is more than the sampling error. Pure functions.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

/// One figure in both reports.
struct Change {
  double before = 0, after = 0;
  double deviation = 0;  ///< standard deviation of after - before, errors taken as independent

  double difference() const { return after - before; }
  /// Many figures are looked at in one comparison: 99.9 % rather than 95 %.
  bool is_beyond_error() const { return std::abs(difference()) > 3.29 * deviation; }
};

/// Figures that only exact mode has are to be read only where both reports are of it.
struct SiteChange : report::SiteFigures<Change> {
  const report::SiteRow* before;  ///< nullptr = not in that report
  const report::SiteRow* after;

  const report::SiteRow& site() const { return after ? *after : *before; }
};

struct LineChange {
  std::string_view cause;
  Change bytes;
};

struct Changes {
  std::vector<LineChange> ledger;  ///< in the order of the reports; only where both have one
  std::vector<SiteChange> sites;   ///< unsorted; sites with the same stack are matched
};

/// The figure, live or allocated bytes, that says how many samples stand behind another one.
const report::FigureFacts& sampled_by(const report::FigureFacts& figure);

Changes changes_between(const ReportFile& before, const ReportFile& after);

}  // namespace mallard::cli
