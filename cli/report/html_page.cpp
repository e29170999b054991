// SPDX-License-Identifier: Apache-2.0
#include "cli/report/html_page.hpp"

#ifdef MALLARD_HTML
extern "C" {
// The names that the linker gives to the ends of page.html.
extern const char _binary_page_html_start[];
extern const char _binary_page_html_end[];
}
#endif

namespace mallard::cli {

std::string_view html_page() {
#ifdef MALLARD_HTML
  return {_binary_page_html_start, _binary_page_html_end};
#else
  return {};
#endif
}

}  // namespace mallard::cli
