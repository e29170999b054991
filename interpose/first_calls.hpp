// SPDX-License-Identifier: Apache-2.0
// Calls that come before a backend serves: they start the choice of one, or live from the boot arena while
// its file has still to be loaded.
#pragma once

#include "backends/backend.hpp"

namespace mallard::interpose {

// The first contents of mallard_table: each function starts the choice and forwards.
void* first_malloc(std::size_t bytes) noexcept;
void first_free(void* p) noexcept;
void* first_calloc(std::size_t count, std::size_t bytes) noexcept;
void* first_realloc(void* p, std::size_t bytes) noexcept;
void* first_memalign(std::size_t alignment, std::size_t bytes) noexcept;
std::size_t first_usable_size(void* p) noexcept;

/// False while the loader has not copied TLS initialisers, which it does after all relocation: an IFUNC
/// resolver is calling, and backends, which keep pointers in initialised TLS, would crash. \context init
bool tls_is_ready() noexcept;

/// Serves from the boot arena until install_final(). \context init
void serve_from_boot_arena() noexcept;
/// Lets a backend that follows the boot arena tell the sizes of the arena's blocks. \context init
void answer_for_boot_blocks(backends::Backend* backend) noexcept;

}  // namespace mallard::interpose
