// SPDX-License-Identifier: Apache-2.0
// A comparison as text, as Markdown for a pull request, as JSON, and as a page.
#pragma once

#include <string>

#include "cli/compare/summary.hpp"

namespace mallard::cli::compare {

std::string as_text(const Plan& plan, const Summary& summary);
std::string as_markdown(const Plan& plan, const Summary& summary);
std::string as_json(const Plan& plan, const Summary& summary);
/// \throws Error (kUsage) if this mallard was built without the page
std::string as_html(const Plan& plan, const Summary& summary);

}  // namespace mallard::cli::compare
