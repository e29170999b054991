// SPDX-License-Identifier: Apache-2.0
// Functions of which a compiler knows what registers they change, because nothing that they call lies outside of what
// it compiles: GCC lets their callers keep values in the others (-fipa-ra), which a watcher or another allocator changes.
#pragma once

#include "elf/program_file.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {

/// Follows the calls of each entry point that is to lead elsewhere, of a malloc that nobody knows. Needs a disassembler.
/// \return the first one that calls nothing outside of the program, and is itself called by its distance (calls by a
/// pointer know nothing of it); nullptr if there is none
const TakeoverEntry* find_known_registers(const elf::ProgramFile& file, const TakeoverPlan& plan) noexcept;

}  // namespace mallard::inside
