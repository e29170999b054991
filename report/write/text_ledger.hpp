// SPDX-License-Identifier: Apache-2.0
// The ledger for people.
#pragma once

#include "report/model/model.hpp"
#include "report/write/sink.hpp"

namespace mallard::report {

void write_ledger_text(const Snapshot& snapshot, Sink& to) noexcept;

}  // namespace mallard::report
