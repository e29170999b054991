// SPDX-License-Identifier: Apache-2.0
// Who serves a process whose own allocator, inside the executable, `mallard attach` has watched: that is what its report
// names first, whichever heap is the largest. Context: offline.
#pragma once

#include <string_view>

#include "backends/backend.hpp"
#include "elf/modules.hpp"

namespace mallard::outside {

/// Whether it is one that does not have malloc: then libc's serves others, and is recorded, too.
bool is_beside_libc() noexcept;

/// Names it in `backend`, as far as that is not its name already.
void name_observed(const elf::Modules& modules, backends::Backend* backend) noexcept;

}  // namespace mallard::outside
