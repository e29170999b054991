// SPDX-License-Identifier: Apache-2.0
// What a program's code says against taking its allocator over: calls that go past the entry points.
#pragma once

#include "elf/program_file.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {

/// Looks through all code for direct calls and jumps, from outside of the allocator, to functions of it that
/// are not taken over: inlined copies of the entry points (link-time optimisation), heaps of the program's
/// own. Jumps into the bytes that will be overwritten are looked for, too.
/// \param observes  the allocator goes on: where it calls its own entries is written into the plan
/// \return false, with the reason in `plan.why`, if there are any
bool entries_are_the_only_way_in(const elf::ProgramFile& file, bool observes, TakeoverPlan& plan) noexcept;

}  // namespace mallard::inside
