// SPDX-License-Identifier: Apache-2.0
// Allocators in the process beside the one that mallard serves from: embedded in the executable or in a
// shared object, bound by an object of its own accord, or the heap of a language's runtime. Context:
// reporter.
#pragma once

#include "report/write/json_writer.hpp"
#include "report/memory.hpp"
#include "elf/modules.hpp"

namespace mallard::report {

/// Names them, and what each holds of the memory that was read. What cannot be read is left out.
void find_other_allocators(Arena& arena, const Served& served, const Memory& memory, Others* out) noexcept;

/// Objects whose references to the malloc family lead elsewhere than to mallard; bound_elsewhere.cpp.
std::span<BoundElsewhere> find_bound_elsewhere(Arena& arena, const Served& served,
                                               const elf::Modules& modules) noexcept;

/// True if `module` is mallard's, the serving allocator's, libc or the loader: not to be looked at.
bool is_known_module(const Served& served, const elf::Module& module) noexcept;

/// The section of the text report; nothing if there is none.
void write_other_allocators(const Snapshot& snapshot, Sink& to) noexcept;
/// The members "embedded_allocators", "bound_elsewhere" and "nobody_saw_bytes".
void write_other_allocators_json(const Snapshot& snapshot, Json& json) noexcept;

}  // namespace mallard::report
