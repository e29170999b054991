// SPDX-License-Identifier: Apache-2.0
// Memory for the calls that come before a dlopened backend is there: a bump arena whose blocks are never
// reused and whose frees are counted only. free() recognises them through the filter of record.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"

namespace mallard::backends {

/// Where the arena is, and how large; nothing before it exists.
struct BootArena {
  std::uintptr_t begin, bytes;
};
extern BootArena boot_arena __attribute__((visibility("hidden")));

inline bool is_boot_block(const void* p) noexcept {
  return address_of(p) - boot_arena.begin < boot_arena.bytes;
}

/// Zeroed memory; nullptr and ENOMEM when the arena is full. \context init
void* boot_allocate(std::size_t alignment, std::size_t bytes) noexcept;
std::size_t boot_usable_size(const void* p) noexcept;
void boot_free(void* p) noexcept;
std::uint64_t boot_blocks() noexcept;  ///< handed out so far
/// Gives back what no block has taken: there are no more. \context init
void boot_end() noexcept;

}  // namespace mallard::backends
