// SPDX-License-Identifier: Apache-2.0
// Where the functions and variables of a module lie that are known by name, in whatever process has loaded it.
// Context: reporter, offline.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "elf/modules.hpp"

namespace mallard::elf {

struct NamedAddress {
  std::string_view name;
  std::uintptr_t address = 0;  ///< in the process; 0 = the module does not name it
  std::uint64_t bytes = 0;     ///< as the symbol table has it
};

/// Fills in what the symbol tables of the module's file say; the dynamic one is read where the file cannot be
/// had. \return how many were found
std::size_t find_addresses(const Module& module, const ProcessMemory& process,
                           std::span<NamedAddress> wanted) noexcept;

/// True of what libc.so is called.
bool is_libc(const Module& module) noexcept;
/// True of that, and of an executable, which may have it inside.
bool may_be_libc(const Module& module) noexcept;

}  // namespace mallard::elf
