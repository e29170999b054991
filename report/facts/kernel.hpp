// SPDX-License-Identifier: Apache-2.0
// What the kernel knows of a process, read from /proc.
#pragma once

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// What the kernel says of the process as a whole.
ProcessFacts read_process_facts(Arena& arena, const ProcessMemory& process) noexcept;
/// The kernel's figures of this moment. Rss::walked says whether LazyFree and huge pages are among them.
Rss read_rss(const ProcessMemory& process) noexcept;

}  // namespace mallard::report
