// SPDX-License-Identifier: Apache-2.0
// The ledger in the JSON report.
#pragma once

#include "report/write/json_writer.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// The members "ledger", "unexplained_bytes" and "ledger_about".
void write_ledger_json(const Snapshot& snapshot, Json& json) noexcept;

}  // namespace mallard::report
