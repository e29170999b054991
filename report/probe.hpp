// SPDX-License-Identifier: Apache-2.0
// The purge probe: retention proved, not guessed. The allocator is asked to give back its free pages once all
// figures of the report are taken; what then leaves the process was retained, what stays is live, pinned by
// live blocks or kept in thread caches. Never part of a report that nobody asked it for.
#pragma once

#include "report/write/json_writer.hpp"
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

/// What the figures of a probe mean, in one or two sentences.
void add_probe_conclusion(const Snapshot& snapshot, TextBuffer& to) noexcept;

/// The section of the text report; nothing where no probe was asked for.
void write_probe_text(const Snapshot& snapshot, Sink& to) noexcept;
/// The members that a report's probe and the answer to `mallard purge` have in common.
void write_purge_figures(const Probe& probe, Json& json) noexcept;
/// The member "probe": null where none was asked for.
void write_probe_json(const Snapshot& snapshot, Json& json) noexcept;

}  // namespace mallard::report
