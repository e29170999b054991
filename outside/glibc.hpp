// SPDX-License-Identifier: Apache-2.0
// Which glibc a process runs, from the file that it has loaded or is. Context: offline.
#pragma once

#include "base/text.hpp"
#include "elf/modules.hpp"

namespace mallard::outside {

/// The module with glibc inside: libc.so.6, or a statically linked program. Appends its version ("2.36").
/// \return nullptr if none tells it
const elf::Module* find_glibc(const elf::Modules& modules, TextBuffer& version) noexcept;

/// The module that is musl's libc and loader; nullptr if there is none.
const elf::Module* find_musl(const elf::Modules& modules) noexcept;

}  // namespace mallard::outside
