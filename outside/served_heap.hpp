// SPDX-License-Identifier: Apache-2.0
// The heap of a process with mallard: who serves it, and which memory is its, was recorded inside; how it is
// laid out is found out by its pages. Context: offline, one process at a time.
#pragma once

#include "backends/backend.hpp"
#include "heaps/census.hpp"
#include "report/facts/memory.hpp"
#include "report/model/served.hpp"

namespace mallard::outside {

/// True if the heap of such an allocator can be divided from outside; of one that mallard cannot ask at all
/// it is true, too.
bool can_be_divided(const backends::Backend& theirs) noexcept;

/// What is kept of the backend of the process. \return the same, for a report; it stays until the next call
backends::Backend* serve_from(const backends::Backend& theirs, const report::Served& served) noexcept;

/// Served::claim_heaps of such a process: finds the layout, and gives the backend its census.
void claim_served_heap(Arena& arena, report::Memory* memory) noexcept;

/// The census of an allocator whose layout was not found: the reason alone.
heaps::CensusResult census_of_no_layout(const heaps::CensusRequest&) noexcept;

}  // namespace mallard::outside
