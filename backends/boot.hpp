// SPDX-License-Identifier: Apache-2.0
// Memory for the calls that come before a dlopened backend is there: a bump arena whose blocks are never
// reused and whose frees are counted only. free() recognises them through the filter of record.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"

namespace mallard::backends {

inline constexpr std::size_t kBootBytes = 64u << 20;  ///< reserved, committed on touch

/// Lowest address of the arena. Not 0 before it exists: low brk heaps would look like boot blocks.
extern std::uintptr_t boot_begin __attribute__((visibility("hidden")));

inline bool is_boot_block(const void* p) noexcept { return address_of(p) - boot_begin < kBootBytes; }

/// Zeroed memory; nullptr and ENOMEM when the arena is full. \context init
void* boot_allocate(std::size_t alignment, std::size_t bytes) noexcept;
std::size_t boot_usable_size(const void* p) noexcept;
void boot_free(void* p) noexcept;
std::uint64_t boot_blocks() noexcept;  ///< handed out so far

}  // namespace mallard::backends
