// SPDX-License-Identifier: Apache-2.0
// The heap divided among causes and call sites: by the backend's census and the samples, or by the exact
// books. Context: reporter.
#pragma once

#include "report/divide/sampled_division.hpp"
#include "report/memory.hpp"

namespace mallard::report {

inline constexpr const char* kNoMemory = "there was no memory for it";

/// Writes the shares into the rows of `books` or, of exact books, into their shares.
/// \return why the heap could not be divided; nullptr if it was
const char* divide_heap(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& books,
                        HeapTotals* totals, ExactRecording* exact, BeforeRecording* before,
                        Ledger* out) noexcept;

/// Few samples can claim more holes than there are: the line of the ledger, which is counted, is the bound.
void bound_holes(const RecordCopy& books, const Ledger& ledger) noexcept;

}  // namespace mallard::report
