// SPDX-License-Identifier: Apache-2.0
// The report as text: the library's own, with source lines and inlined calls in its stacks.
#include <fmt/format.h>

#include <algorithm>

#include "cli/demangled.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/totals.hpp"
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

std::string as_text(const Profile& p, const report::TextLayout& layout) {
  std::string out;
  report::Sink sink(append, &out);
  report::write_text(p.report, layout, sink);
  sink.flush();
  out = printable_lines(out);
  out += totals_text(p, static_cast<std::size_t>(layout.sites));
  if (p.sites_unfocused > 0) out += fmt::format("  {} more without --focus\n", p.sites_unfocused);
  return out;
}

}  // namespace mallard::cli
