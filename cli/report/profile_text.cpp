// SPDX-License-Identifier: Apache-2.0
// The report as text: the library's own, with source lines and inlined calls in its stacks.
#include <fmt/format.h>

#include <algorithm>

#include "cli/demangled.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/totals.hpp"
#include "report/write/sections.hpp"
#include "report/write/text.hpp"

namespace mallard::cli {
namespace {

/// Names are whatever a file says: nothing in them may reach a terminal as control.
std::string printable_lines(std::string_view text) {
  std::string out;
  for (std::size_t end; !text.empty(); text.remove_prefix(end)) {
    end = std::min(text.find('\n'), text.size() - 1) + 1;
    out += printable(text.substr(0, end - 1)) + "\n";
  }
  return out;
}

long append(void* to, const char* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(bytes, size);
  return 0;
}

}  // namespace

std::string report_text(const report::Snapshot& report, const report::TextLayout& layout) {
  std::string out;
  report::Sink sink(append, &out);
  report::write_text(report, layout, sink);
  sink.flush();
  return printable_lines(out);
}

std::vector<std::string> stack_lines(const report::Snapshot& report, const report::SiteRow& row) {
  std::string text;
  report::Sink sink(append, &text);
  report::write_stack(row, report.process, row.depth, sink);
  sink.flush();
  std::vector<std::string> lines;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    lines.push_back(printable(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

std::string as_text(const Profile& p, const report::TextLayout& layout) {
  std::string out = report_text(p.report, layout);
  out += totals_text(p, static_cast<std::size_t>(layout.sites));
  if (p.sites_unfocused > 0) out += fmt::format("  {} more without --focus\n", p.sites_unfocused);
  return out;
}

}  // namespace mallard::cli
