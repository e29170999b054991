// SPDX-License-Identifier: Apache-2.0
// The heap map in the JSON report.
#pragma once

#include "report/write/json_writer.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// The member "heap_map".
void write_heap_map_json(const Ledger& ledger, Json& json) noexcept;

}  // namespace mallard::report
