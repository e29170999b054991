// SPDX-License-Identifier: Apache-2.0
// Reads the books, the kernel and the backend, once, into a Snapshot.
#pragma once

#include "base/arena.hpp"
#include "report/model/model.hpp"
#include "report/model/served.hpp"

namespace mallard::report {

/// Takes a report's data. Does not stop the host; each shard of the live table is read under its lock. Where
/// the process is not our own nothing was recorded: what the kernel, its memory and its files tell is taken.
/// \return false if there is no memory for it (said on stderr) \context reporter, exit
bool take_snapshot(Arena& arena, const ProcessMemory& process, const Served& served, Reason reason,
                   Snapshot* out) noexcept;

}  // namespace mallard::report
