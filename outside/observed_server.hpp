// SPDX-License-Identifier: Apache-2.0
// Who serves a process by an allocator of its own: one inside the executable that `mallard attach` has watched is what its
// report names first, whichever heap is the largest, and one that nobody knows is named by where it is. Context: offline.
#pragma once

#include "backends/backend.hpp"
#include "base/text.hpp"
#include "elf/modules.hpp"

namespace mallard::outside {

/// Whether it is one that does not have malloc: then libc's serves others, and is recorded, too.
bool is_beside_libc() noexcept;

/// Names it in `backend`, as far as that is not its name already.
void name_observed(const elf::Modules& modules, backends::Backend* backend) noexcept;

/// Who has a malloc that no census knows and the loader binds every object to: it is exported, and no C library's.
/// \param name  "executable", or the name of the library's file; unchanged where there is none
/// \return nullptr if there is none
const elf::Module* find_own_malloc(const elf::Modules& modules, TextBuffer name) noexcept;

}  // namespace mallard::outside
