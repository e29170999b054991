// SPDX-License-Identifier: Apache-2.0
// Copies what record keeps of call sites and live blocks, as rows of a report. Context: reporter.
#pragma once

#include "base/arena.hpp"
#include "report/model/record_copy.hpp"

namespace mallard::report {

/// Copies sites and live samples, and sums them up into the rows and the snapshot's totals.
/// \return false if memory is out
bool copy_record(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept;

/// Copies the counts of all sites of exact mode, and the process's totals; before the heap is divided.
/// \return false if memory is out
bool copy_exact_record(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept;
/// Makes rows of the sites of exact mode that lead in any order; after the heap has been divided.
/// \return false if memory is out
bool choose_rows(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept;

/// Leaves out row 0 if it is empty, sorts the rows and makes the snapshot's other orders of them.
/// \return the first row that is shown, or nullptr if memory is out
SiteRow* order_sites(const RecordCopy& copy, Snapshot* out) noexcept;

/// Copies the live samples, shard by shard, and the counters of the recording.
/// \return no data if memory is out
std::span<const record::LiveBlock> copy_live_samples(Arena& arena, Recording* out) noexcept;
/// Adds a live sample's age to its row. \param weight_so_far  of the row's live samples, this one included
void add_age(SiteRow& row, const record::LiveBlock& block, double weight_so_far,
             std::uint64_t now_ns) noexcept;

/// Bytes that were allocated since `copy` was made, freed or not, as the samples say. \context reporter
double allocated_since(const RecordCopy& copy) noexcept;

}  // namespace mallard::report
