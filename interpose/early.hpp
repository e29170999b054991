// SPDX-License-Identifier: Apache-2.0
// The functions that serve before a backend is chosen: each starts the choice and forwards.
#pragma once

#include <cstddef>

namespace mallard::interpose {

void* early_malloc(std::size_t bytes) noexcept;
void early_free(void* p) noexcept;
void* early_calloc(std::size_t count, std::size_t bytes) noexcept;
void* early_realloc(void* p, std::size_t bytes) noexcept;
void* early_memalign(std::size_t alignment, std::size_t bytes) noexcept;
std::size_t early_usable_size(void* p) noexcept;

/// Chooses the backend if that has not happened: on the first call of an exported function or in the
/// constructor, whichever is first. Afterwards mallard_table serves (from the boot arena where the backend
/// has still to be loaded). \context init
void ensure_started() noexcept;

}  // namespace mallard::interpose
