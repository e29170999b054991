// SPDX-License-Identifier: Apache-2.0
// The sections that the text report and the JSON report are made of; text.cpp and json.cpp have the order.
#pragma once

#include "report/model/model.hpp"
#include "report/write/json_writer.hpp"
#include "report/write/text.hpp"

namespace mallard::report {

void write_charge(const Charge& charge, Sink& to) noexcept;  ///< nothing where /proc is not readable
/// Verdict, growth and the other findings, in kConclusionLines. \return false if sentences did not fit
bool write_verdict(const Snapshot& snapshot, Sink& to) noexcept;
void write_findings_in_full(const Snapshot& snapshot, Sink& to) noexcept;
/// The verdict once more, for whoever sees only the end.
void write_in_short(const Snapshot& snapshot, Sink& to) noexcept;
void write_ledger(const Snapshot& snapshot, const TextLayout& layout, Sink& to) noexcept;
void write_other_allocators(const Snapshot& snapshot, Sink& to) noexcept;  ///< nothing if there is none
void write_checks(const Snapshot& snapshot, Sink& to) noexcept;            ///< nothing if none fails
/// The function that names the site, what lies between it and malloc, and its callers.
void write_stack(const SiteRow& row, const ProcessFacts& process, int most_frames, Sink& to) noexcept;
/// \param most_lines  of a brief report: there is no room for more
void write_leading_sites(const Snapshot& snapshot, std::size_t most_lines, Sink& to) noexcept;
void write_site_tables(const Snapshot& snapshot, const TextLayout& layout, Sink& to) noexcept;
/// "ALLOC_MODE=exact": what has every block of the process booked; of an attached one it is a command.
void add_way_to_exact(const Snapshot& snapshot, Sink& to) noexcept;
void write_pins(const Snapshot& snapshot, Sink& to) noexcept;   ///< nothing where no sets are known
void write_probe(const Snapshot& snapshot, Sink& to) noexcept;  ///< nothing where no probe was asked for

void write_core(const CoreFacts& core, Sink& to) noexcept;     ///< nothing of a process that runs
void write_lost(const Snapshot& snapshot, Sink& to) noexcept;  ///< nothing where nobody asked for it
/// How long calls took; nothing where none were timed. \param most_frames  of the stacks of slow calls; 0:
/// the operations alone
void write_latency(const Snapshot& snapshot, int most_frames, Sink& to) noexcept;
/// The first `most` remedies; nothing where there is none. \param all  with the reason of each
void write_remedies(const Snapshot& snapshot, std::size_t most, bool all, Sink& to) noexcept;

void write_remedies_json(const Snapshot& snapshot, Json& json) noexcept;
void write_verdict_json(const Snapshot& snapshot, Json& json) noexcept;
void write_history_json(const Snapshot& snapshot, Json& json) noexcept;
void write_site_history_json(const SiteHistory& history, Json& json) noexcept;  ///< members of a site
void write_ledger_json(const Snapshot& snapshot, Json& json) noexcept;
void write_charge_json(const Charge& charge, Json& json) noexcept;
void write_pins_json(const Ledger& ledger, Json& json) noexcept;
void write_heap_map_json(const Ledger& ledger, Json& json) noexcept;
void write_other_allocators_json(const Snapshot& snapshot, Json& json) noexcept;
void write_checks_json(const Snapshot& snapshot, Json& json) noexcept;
void write_probe_json(const Snapshot& snapshot, Json& json) noexcept;
void write_core_json(const CoreFacts& core, Json& json) noexcept;
void write_latency_json(const Snapshot& snapshot, Json& json) noexcept;
void write_lost_json(const Snapshot& snapshot, Json& json) noexcept;
void write_purge_json(const Probe& probe, Json& json) noexcept;  ///< members of a probe, and of an answer

inline void text_or_null(Json& json, std::string_view name, std::string_view text) noexcept {
  json.key(name);
  if (text.empty()) json.null();
  else json.text(text);
}
/// A figure that not every report has.
inline Json& number_or_null(Json& json, std::string_view name, std::uint64_t value, bool known) noexcept {
  json.key(name);
  return known ? json.number(value) : json.null();
}
inline void text_or_null(Json& json, std::string_view name, const char* text) noexcept {
  text_or_null(json, name, text ? view_of(text) : std::string_view());
}
/// Words for live bytes that are older than the records.
inline std::string_view older_words(const Snapshot& s) noexcept {
  return s.recording.exact.on ? "allocated before exact recording began, rounding included"
                              : "allocated before recording began, rounding included";
}

}  // namespace mallard::report
