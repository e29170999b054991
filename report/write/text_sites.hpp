// SPDX-License-Identifier: Apache-2.0
// The tables of call sites in the text report.
#pragma once

#include "report/model/model.hpp"
#include "report/write/sink.hpp"

namespace mallard::report {

/// By resident memory (where the ledger is divided), by live and by allocated bytes.
void write_site_tables(const Snapshot& snapshot, Sink& to) noexcept;

}  // namespace mallard::report
