// SPDX-License-Identifier: Apache-2.0
// Conditions, and a JSON report that may be anything: read, compared with itself, judged, and written in every format.
#include <initializer_list>
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
  for (mallard::report::Frame& frame : report->frames)
    if (frame.module.starts_with('/')) frame.module.remove_prefix(1);
}

void write(const Profile& profile, const nlohmann::ordered_json& document) {
  std::size_t bytes = as_text(profile, {}).size() + as_folded(profile).size() + as_csv(profile).size() +
                      as_speedscope(profile).size() + as_pprof(profile).size();
  bytes += as_json(profile, document).size();
  if (bytes == 0) std::abort();
}

void judge_all(const ReportFile& report) {
  static const std::vector<Condition> kConditions = parse_conditions(
      "any,leak,retention,rss>1K,unexplained>0.1%,holes>+1%,site.live>1,site.count>+1,files>5%", true);
  const Changes changes = changes_between(report, report);
  for (const Condition& c : kConditions) judge(c, report, report, changes);
}

/// The conditions of --fail-on are words of a command line, and no longer.
void read_conditions(const std::string& text) {
  for (const bool of_two : {false, true}) try {
      parse_conditions(text, of_two);
    } catch (const Error&) {
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 200) read_conditions({reinterpret_cast<const char*>(data), size});
  try {
    nlohmann::ordered_json document;
    ReportFile report = parse_report({reinterpret_cast<const char*>(data), size}, "input", &document);
    forget_files(&report);
    judge_all(report);
    symbolize(&report);
    Profile profile{&report, report.data, &kFigures[size % std::size(kFigures)], {}};
    for (const mallard::report::SiteRow& row : sites_of(report.data)) profile.sites.push_back(&row);
    write(profile, document);
  } catch (const Error&) {
  }
  return 0;
}
