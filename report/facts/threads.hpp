// SPDX-License-Identifier: Apache-2.0
// The threads of a process, as /proc lists them. Context: reporter.
#pragma once

#include <cstdint>

#include "base/process_memory.hpp"

namespace mallard::report {

/// Visits the id of each thread. \param visit  false ends it
void for_each_thread(const ProcessMemory& process, bool (*visit)(std::uint32_t id, void* opaque) noexcept,
                     void* opaque) noexcept;

}  // namespace mallard::report
