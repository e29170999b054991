// SPDX-License-Identifier: Apache-2.0
#include "cli/report/text_shown.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/report/profile.hpp"
#include "cli/report/symbolize.hpp"

namespace mallard::cli {

std::string text_shown(ReportFile* report, bool full, const std::string& where_all) {
  report::TextLayout layout;
  if (full) {
    symbolize(report);
    layout.in_short = false;
    return report_text(report->data, layout);
  }
  symbolize(report, leading_sites(report->data));
  layout.brief = true;
  const std::string text = report_text(report->data, layout);
  std::size_t end = 0;  // whatever the sections came to
  for (std::size_t line = 1; line < report::kBriefLines && end < text.size(); ++line)
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  return fmt::format("{}  {}\n", text.substr(0, end), where_all);
}

}  // namespace mallard::cli
