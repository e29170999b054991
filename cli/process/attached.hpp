// SPDX-License-Identifier: Apache-2.0
// What libmallard-attach.so says of itself in a process that it was loaded into.
#pragma once

#include <cstdint>
#include <optional>

#include "attach/door.hpp"
#include "cli/process/memory_file.hpp"

namespace mallard::cli {

std::uint64_t find_door(const MemoryFile& memory);  ///< 0 = the object is not loaded

/// \return nothing if the object is not loaded there, is of another build, or may not be read
std::optional<AttachDoor> read_door(int pid);

/// Whether calls of this process are recorded by that object. A child that was forked off such a process has
/// the object, too, and is not recorded.
bool is_attached(int pid);

}  // namespace mallard::cli
