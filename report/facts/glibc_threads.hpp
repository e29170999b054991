// SPDX-License-Identifier: Apache-2.0
// Threads of glibc: how libc lays out what it keeps of one, and what the threads are called whose stacks were
// found. Context: reporter.
#pragma once

#include <cstdint>

#include "base/arena.hpp"
#include "elf/modules.hpp"

namespace mallard::report {

struct Regions;

/// What libc tells debuggers (nptl_db) of struct pthread; before glibc 2.34, where libpthread keeps that to itself, what
/// it was then.
struct ThreadLayout {
  std::uint32_t bytes;  ///< its size; 0 = it cannot be used
  std::uint32_t id_at;  ///< offset of the thread's id
};
ThreadLayout thread_layout_of(const elf::Modules& modules) noexcept;

/// Names the stacks by the threads that have them, as the kernel calls these; what is not known stays without
/// a name.
void name_stacks(Arena& arena, Regions* regions) noexcept;

}  // namespace mallard::report
