// SPDX-License-Identifier: Apache-2.0
// Where an allocator calls its own entry points: realloc a malloc, one form of operator new another. Whoever
// observes the entries is not to see those calls, because the program made one.
#pragma once

#include <cstdint>
#include <span>

#include "elf/program_file.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {

/// Reads every instruction of the allocator's functions, writes the branches to entries into the plan, and
/// looks for those that lead into what a jump displaces.
/// \param own  the functions, ascending \return false, with the reason in `plan.why`, if one stands in the way
bool find_inner_branches(const elf::ProgramFile& file, std::span<const CodeRange> own,
                         TakeoverPlan& plan) noexcept;

}  // namespace mallard::inside
