// SPDX-License-Identifier: Apache-2.0
// The purge probe: retention proved, not guessed. The allocator is asked to give back its free pages once all
// figures of the report are taken; what then leaves the process was retained, what stays is live, pinned by
// live blocks or kept in thread caches. Never part of a report that nobody asked it for.
#pragma once

#include "report/model/model.hpp"

namespace mallard::report {

struct Served;

/// Asks the allocator to give back its free pages, and measures what goes. May take long and hold up threads
/// that allocate: see backends::Purge. \param own_thread  false: a thread of the host, which may have been
/// interrupted inside the allocator \context reporter
Probe purge(const Served& served, bool own_thread) noexcept;

struct ProbeRequest {
  bool wanted;
  bool own_thread;  ///< false: a thread of the host, which may have been interrupted inside the allocator
};

/// Fills snapshot->probe, with a purge if one is wanted.
/// \context reporter, after take_snapshot
void run_probe(const ProbeRequest& request, const Served& served, Snapshot* snapshot) noexcept;

}  // namespace mallard::report
