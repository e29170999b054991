// SPDX-License-Identifier: Apache-2.0
// The zeros on huge pages by the lines of the ledger that have them. Pure functions. Context: reporter.
#pragma once

#include <span>

#include "report/divide/sampled_division.hpp"
#include "report/facts/huge_tails.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Fills in Ledger::huge_zeros, after the lines.
/// \param heap  nullptr: the heap was not divided
void divide_huge_zeros(const HugeTails& tails, std::span<const Region> regions, const HeapTotals* heap,
                       Ledger* out) noexcept;

}  // namespace mallard::report
