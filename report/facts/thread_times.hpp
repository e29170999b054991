// SPDX-License-Identifier: Apache-2.0
// Which threads have run since the last report, as the kernel's own times tell. Context: reporter.
#pragma once

#include <cstdint>

#include "base/parts.hpp"
#include "base/process_memory.hpp"

namespace mallard::report {

struct IdleThreads {
  int count;         ///< of those that the last report knew, have not run since; -1: nobody can be compared
  int compared;      ///< threads that were there both times, the reporter's left out
  std::uint64_t ns;  ///< since the last report
};

/// Reads the times of up to 1024 threads, and remembers them for the next call. Takes some 10 us for each.
IdleThreads find_idle_threads(const ProcessMemory& process) noexcept;
/// What is remembered becomes a copy of what another process's mallard remembers. \context offline
/// The calling thread is mallard's own and lives on: it is none of the host's.
void leave_out_this_thread() noexcept;

bool thread_times_adopt(const OtherParts& parts) noexcept;

}  // namespace mallard::report
