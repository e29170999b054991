// SPDX-License-Identifier: Apache-2.0
// Whether bytes of code that read as a call or a jump are one. Code is searched byte by byte, since nothing says where its
// instructions begin where functions have no names; in 200 MB of it, something reads by chance as a jump to any place.
#pragma once

#include <cstdint>

#include "elf/program_file.hpp"

namespace mallard::inside {

/// Reads instructions from each of 32 places before the address. They fall into step with the code within a few
/// instructions, wherever they began: nearly all of them meet a branch that is one, and hardly one what is a part of
/// other instructions. Behind data they may not: where a function begins (as symbols say; in a stripped file at
/// multiples of 16), one reading that meets it is enough.
/// \param address  of the branch, behind prefixes that it may have
/// \return false if fewer than a quarter of the others meet a branch to `target` there; true also where it cannot be told: without
/// a disassembler, or where the bytes around are not there
bool is_branch(const elf::ProgramFile& file, std::uint64_t address, std::uint64_t target) noexcept;

}  // namespace mallard::inside
