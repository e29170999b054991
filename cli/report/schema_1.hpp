// SPDX-License-Identifier: Apache-2.0
// Reports of schema version 1, in which every site carried its frames in full.
#pragma once

#include "cli/report/report_json.hpp"

namespace mallard::cli {

/// Turns a report of schema version 1 into one of version 2, so that all else reads one form only.
/// \throws Json::exception for what is no report
void upgrade_from_schema_1(Json* report);

}  // namespace mallard::cli
