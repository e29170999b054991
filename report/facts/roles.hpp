// SPDX-License-Identifier: Apache-2.0
// What a loaded object is to mallard: in our own process as the loader knows it, in another one with mallard
// by what was adopted from it (Served::own_at, backend_at), in one without by its files. Context: reporter.
#pragma once

#include "elf/modules.hpp"
#include "report/model/served.hpp"

namespace mallard::report {

/// The loaded object that an address lies in; nullptr: none.
const elf::Module* module_at(const elf::Modules& modules, std::uintptr_t address) noexcept;

/// libmallard.so.
bool is_own_module(const ProcessMemory& process, const Served& served, const elf::Module& module) noexcept;
/// The object that serves, where that is not built in; whether it does serve is not asked.
bool is_backend_module(const ProcessMemory& process, const Served& served,
                       const elf::Module& module) noexcept;
bool is_libc_module(const ProcessMemory& process, const elf::Module& module) noexcept;
/// The executable.
bool is_program_module(const ProcessMemory& process, const elf::Module& module) noexcept;

}  // namespace mallard::report
