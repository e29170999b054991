// SPDX-License-Identifier: Apache-2.0
// The page of cli/html/, which shows what it is given as JSON: a report, or a comparison.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mallard::cli {

/// \throws Error (kUsage) if this mallard was built without the page
void require_html();

/// The page with this in it. \throws as require_html()
std::string html_page_of(const nlohmann::ordered_json& shown);

/// The causes of the ledger in its order, as the page wants them: name, words, meaning.
nlohmann::ordered_json causes_for_page();

}  // namespace mallard::cli
