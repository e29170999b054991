// SPDX-License-Identifier: Apache-2.0
// What the kernel told a program at its start (getauxval(3)).
#pragma once

#include <cstdint>

#include "base/process_memory.hpp"

namespace mallard::elf {

/// \param type  AT_ENTRY and others \return 0 if it was not told, or cannot be read \context reporter, offline
std::uint64_t auxiliary_value(const ProcessMemory& process, std::uint64_t type) noexcept;

}  // namespace mallard::elf
