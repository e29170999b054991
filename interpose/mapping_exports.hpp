// SPDX-License-Identifier: Apache-2.0
// The exports mmap, munmap, mremap and madvise. They work from the first instruction of the process on.
#pragma once

namespace mallard::interpose {

/// Finds out who else wants to see mappings. \context init
void mappings_start() noexcept;

}  // namespace mallard::interpose
