// SPDX-License-Identifier: Apache-2.0
// Allocators in the process beside the one that mallard serves from: embedded in the executable or in a
// shared object, bound by an object of its own accord, or the heap of a language's runtime. Context:
// reporter.
#pragma once

#include "elf/modules.hpp"
#include "report/facts/memory.hpp"

namespace mallard::report {

/// Names them, and what each holds of the memory that was read. What cannot be read is left out.
void find_other_allocators(Arena& arena, const Served& served, const elf::Modules& modules,
                           const Memory& memory, std::span<BoundElsewhere> bound, Others* out) noexcept;

/// Objects whose references to the malloc family lead elsewhere than to mallard; bound_elsewhere.cpp.
std::span<BoundElsewhere> find_bound_elsewhere(Arena& arena, const Served& served,
                                               const elf::Modules& modules) noexcept;

/// True if `module` is the loader or, in our own process, mallard's, the serving allocator's or libc: not to
/// be looked at.
bool is_known_module(const ProcessMemory& process, const Served& served, const elf::Module& module) noexcept;

/// What the program came with, where something else serves it now: the allocator that was taken over, or the
/// malloc that comes next in link order, glibc's in the end. Empty where that serves.
std::string_view find_replaced(Arena& arena, const Served& served, const elf::Modules& modules,
                               const Others& others) noexcept;

/// What became of ALLOC_EMBEDDED=redirect, as the report tells it.
Takeover read_takeover() noexcept;

}  // namespace mallard::report
