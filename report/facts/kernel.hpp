// SPDX-License-Identifier: Apache-2.0
// What the kernel knows of a process, read from /proc.
#pragma once

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// What the kernel says of the process as a whole.
ProcessFacts read_process_facts(Arena& arena, const ProcessMemory& process) noexcept;
/// \return 0 where the kernel does not tell
int read_thread_count(const ProcessMemory& process) noexcept;
/// The kernel's figures of this moment. Rss::walked says whether LazyFree and huge pages are among them.
Rss read_rss(const ProcessMemory& process) noexcept;
/// Where no walk has told it: whether less than a hundredth of the anonymous memory can be lazily freed,
/// because the whole machine has not freed more so.
bool little_is_lazily_freed(const ProcessMemory& process, const Rss& rss) noexcept;

}  // namespace mallard::report
