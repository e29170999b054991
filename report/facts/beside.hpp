// SPDX-License-Identifier: Apache-2.0
// glibc's heap in a process where an allocator inside the executable is observed, and glibc serves those who call
// malloc: both are divided. Context: reporter, one process at a time.
#pragma once

#include "report/facts/memory.hpp"
#include "report/model/served.hpp"

namespace mallard::report {

/// Makes memory that is glibc's by its form a part of the heap.
/// \param main, beside  the censuses of the heap that there is, and of glibc's; nullptr: there is none
/// \return the census of both; `main` where nothing was added. Good until the next call, and as long as the arena.
Census claim_beside(Arena& arena, Census main, Census beside, Memory* memory) noexcept;

}  // namespace mallard::report
