// SPDX-License-Identifier: Apache-2.0
// Where a loaded object's references to the malloc family lead: read from its relocations and the slots that
// the loader filled, in this process or another. What the loader did counts, not what it was asked for:
// RTLD_DEEPBIND, -Bsymbolic, dlmopen and preloads all show here and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "elf/image.hpp"

namespace mallard::inside {

inline constexpr std::size_t kMaxBindings = 128;

struct Bindings {
  bool readable;                         ///< false: no dynamic section, or it cannot be read
  std::uint32_t unbound;                 ///< slots that wait for their first call
  std::uint32_t count;                   ///< may exceed kMaxBindings: then only the first are here
  std::uintptr_t targets[kMaxBindings];  ///< functions that the other slots lead to
  unsigned char room[16384];             ///< the reader's own, no result
};

/// Reads the references of the object whose first page is at `begin` to malloc, calloc, realloc, free,
/// posix_memalign, aligned_alloc, memalign, operator new and delete. Trusts nothing that it reads.
/// \context reporter, offline
void read_bindings(std::uintptr_t begin, elf::CopyMemory copy, void* opaque, Bindings* out) noexcept;

}  // namespace mallard::inside
