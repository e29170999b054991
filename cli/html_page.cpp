// SPDX-License-Identifier: Apache-2.0
#include "cli/html_page.hpp"

#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/error.hpp"
#include "report/model/causes.hpp"

#ifdef MALLARD_HTML
extern "C" {
// The names that the linker gives to the ends of page.html.
extern const char _binary_page_html_start[];
extern const char _binary_page_html_end[];
}
#endif

namespace mallard::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kReportMark = "@MALLARD_REPORT@";

/// The page that cli/html/ makes at build time, with a mark where the report goes; empty without it.
std::string_view html_page() {
#ifdef MALLARD_HTML
  return {_binary_page_html_start, _binary_page_html_end};
#else
  return {};
#endif
}

/// Nothing in it can end the script element that it stands in.
std::string inside_script(const Json& j) {
  std::string out;
  for (const char c : j.dump(-1, ' ', false, Json::error_handler_t::replace))
    if (c == '<') out += "\\u003c";
    else out += c;
  return out;
}

}  // namespace

void require_html() {
  if (html_page().empty())
    throw Error(kUsage, "this mallard was built without the HTML page",
                "build it where node 18 and npm are: meson configure build -Dhtml=enabled && ninja -C build");
}

std::string html_page_of(const Json& shown) {
  require_html();
  const std::string_view frame = html_page();
  const std::size_t mark = frame.find(kReportMark);
  std::string out(frame.substr(0, mark));
  out += inside_script(shown);
  out += frame.substr(mark + kReportMark.size());
  return out;
}

Json causes_for_page() {
  Json out = Json::array();
  for (const report::CauseFacts& cause : report::kCauses)
    out.push_back({cause.name, cause.words, cause.meaning});
  return out;
}

}  // namespace mallard::cli
