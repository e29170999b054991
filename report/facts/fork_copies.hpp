// SPDX-License-Identifier: Apache-2.0
// What a forked process inherited and has in memory once more since. Context: reporter.
#pragma once

#include <span>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "record/record.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

/// Estimates bytes of live blocks from before the fork that lie on pages which this process maps alone while
/// its parent has pages at the same places: at the fork they were one, and one of the two has written since.
/// What the parent never had in memory, or has no more, is not counted.
/// \param samples    live samples, of which those born before `forked_ns` count
/// \param parent_pid  whom this process was forked off, if it still lives
/// \param budget_ns  time of work, beyond which nothing is told
/// \return without an interval where the two page tables cannot be read, or too few samples were met
Estimate copied_since_fork(Arena& arena, const ProcessMemory& process,
                           std::span<const record::LiveBlock> samples, std::uint64_t forked_ns,
                           int parent_pid, std::uint64_t budget_ns) noexcept;

}  // namespace mallard::report
