// SPDX-License-Identifier: Apache-2.0
// The page that cli/html/ makes at build time, with a mark where the report goes.
#pragma once

#include <string_view>

namespace mallard::cli {

inline constexpr std::string_view kReportMark = "@MALLARD_REPORT@";

/// \return empty where mallard was built without it
std::string_view html_page();

}  // namespace mallard::cli
