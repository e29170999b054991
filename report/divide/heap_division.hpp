// SPDX-License-Identifier: Apache-2.0
// The ledger of the process's memory. The heap is divided among causes and call sites by the backend's census
// and the samples, or by the exact copy. Context: reporter.
#pragma once

#include "report/facts/memory.hpp"
#include "report/model/record_copy.hpp"

namespace mallard::report {

/// Asks the allocator which memory is in use, charges it to the sites of `copy`, and writes the ledger.
/// Where the books are exact, it fills in their shares, how many of their blocks it met (`exact`), and what
/// is older than they (`before`).
/// \param bound  objects whose calls do not come to mallard
void account(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& copy,
             std::span<const BoundElsewhere> bound, ExactRecording* exact, BeforeRecording* before,
             Ledger* out) noexcept;

}  // namespace mallard::report
