// SPDX-License-Identifier: Apache-2.0
// What people call a piece of shared memory. Context: reporter.
#pragma once

#include <string_view>

#include "base/arena.hpp"
#include "elf/maps.hpp"

namespace mallard::report {

/// Whether pages of a mapping are shared memory by its path: no file on a disk has them.
bool is_shared_memory(const elf::Mapping& mapping) noexcept;

/// "memfd NAME", "System V segment KEY", "anonymous", or the path; lives in the arena or in the path.
std::string_view name_of_shared_memory(Arena& arena, const elf::Mapping& mapping) noexcept;

/// The runtime whose heap lies in shared memory of this path, as the field calls it; empty where none does.
std::string_view runtime_of_shared_memory(std::string_view path) noexcept;

}  // namespace mallard::report
