// SPDX-License-Identifier: Apache-2.0
// Remembers the first and the latest report of the process, in bounded memory, so that the next one can tell
// growth. One report at a time (the reporter's lock). Context: reporter, exit.
#pragma once

#include "base/parts.hpp"
#include "report/model/record_copy.hpp"

namespace mallard::report {

/// Fills in SiteRow::history and Snapshot::history, all but the ledger's changes.
/// \param copy  with live_bytes in its rows
void compare_sites(const RecordCopy& copy, Snapshot* out) noexcept;

/// Fills in what needs the finished ledger, and remembers this report. Call it last, once for each report.
void compare_and_remember(Snapshot* snapshot) noexcept;

/// What is remembered becomes a copy of what another process's mallard remembers. \context offline
bool reports_adopt(const OtherParts& parts) noexcept;

/// When the latest report was taken that is remembered, CLOCK_MONOTONIC; 0 = there is none.
std::uint64_t last_report_ns() noexcept;

/// Forgets all reports: they were another process's. \context child of a fork
void forget_reports() noexcept;

}  // namespace mallard::report
