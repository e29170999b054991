// SPDX-License-Identifier: Apache-2.0
// A JSON report that may be anything: read, compared with itself, judged, and written in every format.
#include <nlohmann/json.hpp>

#include "cli/diff/changes.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/symbolize.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard::cli;
using mallard::report::kFigures;

namespace {

/// Files that the report names are none of this test's business: fuzz_symbols reads such.
void forget_files(ReportFile* report) {
  for (ReportModule& m : report->modules) m.path.insert(0, "x");
  for (ReportSite& site : report->sites)
    for (ReportFrame& frame : site.stack)
      if (!frame.module.empty()) frame.module.insert(0, "x");
}

void write(const Profile& profile, const nlohmann::ordered_json& document) {
  std::size_t bytes = as_text(profile, document, {}).size() + as_folded(profile).size() + as_csv(profile).size() +
                      as_speedscope(profile).size() + as_pprof(profile).size();
  bytes += as_json(profile, document).size();
  if (bytes == 0) std::abort();
}

void judge_all(const ReportFile& report) {
  static const std::vector<Condition> kConditions = parse_conditions(
      "any,leak,retention,rss>1K,unexplained>0.1%,holes>+1%,site.live>1,site.count>+1,files>5%", true);
  const Changes changes = compare(report, report);
  for (const Condition& c : kConditions) judge(c, report, report, changes);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    nlohmann::ordered_json document;
    ReportFile report = parse_report({reinterpret_cast<const char*>(data), size}, "input", &document);
    forget_files(&report);
    judge_all(report);
    const Symbolizer symbolizer(report);
    Profile profile{&report, &kFigures[size % std::size(kFigures)], {}};
    for (const ReportSite& site : report.sites) {
      PlacedSite& placed = profile.sites.emplace_back(PlacedSite{&site, {}});
      for (const ReportFrame& frame : site.stack) placed.stack.push_back(symbolizer.place_of(frame));
    }
    write(profile, document);
  } catch (const Error&) {
  }
  return 0;
}
