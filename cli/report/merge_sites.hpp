// SPDX-License-Identifier: Apache-2.0
// Call sites that become one when their stacks are cut.
#pragma once

#include "cli/report/report_json.hpp"

namespace mallard::cli {

/// Cuts the stacks of a report's sites to `depth` return addresses and merges those that are equal then.
/// Figures are added and their errors combined as those of independent figures. The merged site keeps the id
/// of the first one; the heap map and the verdict refer to it by that.
/// \throws Json::exception for what is no report
void merge_sites(Json* document, std::size_t depth);

}  // namespace mallard::cli
