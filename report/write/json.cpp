// SPDX-License-Identifier: Apache-2.0
#include "report/write/json.hpp"

#include <initializer_list>

#include "report/judge/verdict.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

void write_process(Json& json, const Snapshot& s) noexcept {
  const ProcessFacts& p = s.process;
  json.key("process").open('{');
  json.key("pid").signed_number(p.pid).key("parent_pid").signed_number(p.parent_pid);
  json.key("name").text(p.name).key("executable").text(p.executable).key("command_line").text(p.command_line);
  number_or_null(json, "idle_threads", static_cast<std::uint64_t>(std::max(0, p.idle_threads)),
                 p.idle_threads >= 0);
  json.key("idle_for_ns").number(p.idle_for_ns);
  json.key("threads").signed_number(p.threads).key("uptime_ns").number(p.uptime_ns);
  json.key("forked_from_recorded_process").flag(s.inherited).close('}').line();
}

void write_backend(Json& json, const Allocator& a) noexcept {
  json.key("backend").open('{');
  json.key("name").text(a.name).key("version").text(a.version);
  json.key("path").text(a.path);
  json.key("requested").text(a.requested);
  json.key("served").flag(!a.bypassed && !a.stepped_aside);
  json.key("bypassed_by");
  if (a.bypassed) json.text(a.bypass_owner);
  else if (a.stepped_aside) json.text(kSanitizer);
  else json.null();
  text_or_null(json, "replaced", a.replaced);
  text_or_null(json, "beside", a.beside);
  json.key("takeover").open('{');
  const Takeover& t = a.takeover;
  json.key("state").text(kTakeoverStates[static_cast<int>(t.state)]);
  json.key("allocator").text(t.allocator).key("entry_points").number(t.entry_points);
  json.key("why").text(t.why).close('}');
  json.key("statistics").open('{');
  for (int i = 0; i < a.statistic_count; ++i)
    json.key(view_of(a.statistics[i].name)).signed_number(a.statistics[i].bytes);
  json.close('}').close('}').line();
}

void write_exact(Json& json, const ExactRecording& e) noexcept {
  if (!e.on) {
    json.null();
    return;
  }
  json.open('{').key("since_start").flag(e.complete).key("live_blocks").number(e.live_blocks);
  json.key("met_blocks").number(e.met_blocks).key("raced_units").number(e.raced_units);
  json.key("unknown_frees").number(e.trouble.unknown_frees);
  json.key("missed_frees").number(e.trouble.missed_frees);
  json.key("unbooked").number(e.trouble.unbooked);
  json.key("unsure_peak_bytes").number(e.trouble.unsure_peak_bytes);
  json.key("own_bytes").number(e.own_bytes).close('}');
}

void write_recording(Json& json, const Snapshot& s) noexcept {
  const Recording& r = s.recording;
  json.key("recording").open('{');
  json.key("mode").text(kModeNames[static_cast<int>(mode_of(r))]).key("sample_bytes").number(r.sample_bytes);
  json.key("since_ns").number(r.since_ns).key("since_start").flag(r.since_start);
  json.key("attached").flag(r.is_attached).key("why_off");
  if (!r.on && r.why_off) json.text(view_of(r.why_off));
  else json.null();
  json.key("samples").number(r.counters.sampled).key("samples_freed").number(r.counters.sampled_frees);
  json.key("samples_live").number(r.live_samples).key("sites").number(r.sites);
  json.key("dropped_table_full").number(r.counters.dropped_full);
  json.key("overflow_sites").number(r.counters.overflow_sites);
  json.key("missed_frees").number(r.counters.missed_frees);
  json.key("reentrant_frees").number(r.counters.reentrant);
  json.key("filter_misses").number(r.counters.filter_misses);
  json.key("skipped_in_snapshot").number(r.skipped_live);
  json.key("given_back_bytes").number(r.counters.given_back_bytes);
  json.key("stacks").open('{');
  json.key("captured").number(r.stacks.captured).key("by_libunwind").number(r.stacks.by_libunwind);
  json.key("truncated").number(r.stacks.truncated).key("rules").number(r.stacks.rules);
  json.key("rules_dropped").number(r.stacks.rules_dropped);
  json.key("maps_readings").number(r.stacks.maps_readings);
  json.key("addresses_dropped").number(r.stacks.addresses_dropped);
  json.key("one_frame_sites").number(r.one_frame_sites).close('}');
  json.key("exact");
  write_exact(json, r.exact);
  json.key("wrappers").text(s.wrappers);
  json.key("own_bytes").number(s.own_bytes).close('}').line();
}

void write_rss(Json& json, const Rss& r) noexcept {
  json.key("rss").open('{');
  json.key("known").flag(r.known).key("source").text(r.walked ? "smaps_rollup" : "status");
  json.key("total_bytes").number(r.total);
  json.key("anonymous_bytes").number(r.anonymous).key("file_bytes").number(r.file);
  json.key("shared_memory_bytes").number(r.shared_memory).key("lazily_freed_bytes").number(r.lazily_freed);
  json.key("huge_page_bytes").number(r.huge_pages).key("locked_bytes").number(r.locked);
  json.key("swapped_bytes").number(r.swapped).key("peak_bytes").number(r.peak).close('}').line();
}

void write_live_peak(Json& json, const Snapshot& s) noexcept {
  json.key("peak").open('{').key("known").flag(s.peak.known);
  write_estimate(json, "live_bytes", s.peak.bytes);
  json.key("ago_ns").number(s.peak.ago_ns).key("judged").flag(s.peak.is_judged);
  json.key("text").text(s.peak_text).close('}').line();
}

void write_totals(Json& json, const Snapshot& s) noexcept {
  json.key("totals").open('{');
  write_estimate(json, "live_bytes", s.live_bytes);
  write_estimate(json, "live_count", s.live_count);
  write_estimate(json, "allocated_bytes", s.allocated_bytes);
  write_estimate(json, "allocated_count", s.allocated_count);
  write_estimate(json, "inherited_live_bytes", s.inherited_live_bytes);
  write_if_told(json, "copied_since_fork_bytes", s.copied_since_fork);
  number_or_null(json, "peak_bytes", s.peak_bytes, s.recording.exact.on);
  number_or_null(json, "temporary_count", s.temporary_count, s.recording.exact.on);
  json.key("heap_resident_bytes").number(s.heap_resident_bytes);
  json.key("heap_is_bound").flag(s.heap_is_bound).close('}').line();
  json.key("fragmentation_ratio");
  const Estimate& f = s.fragmentation_ratio;
  if (f.value > 0) json.decimal(f.value, 4);
  else json.null();
  json.key("fragmentation_ratio_low");
  if (f.has_interval) json.decimal(f.low, 4);
  else json.null();
  json.key("fragmentation_ratio_high");
  if (f.has_interval) json.decimal(f.high, 4);
  else json.null();
  json.line();
}

/// What is in no row: sites that do not lead, and blocks without a site.
void write_rest(Json& json, const Snapshot& s) noexcept {
  const OtherSites& o = s.others;
  json.key("other_sites").open('{').key("sites").number(o.sites);
  json.key("live_bytes").number(whole(o.live_bytes)).key("live_count").number(whole(o.live_count));
  json.key("allocated_bytes")
      .number(whole(o.allocated_bytes))
      .key("allocated_count")
      .number(whole(o.allocated_count));
  json.key("temporary_count").number(whole(o.temporary_count));
  json.key("resident_bytes").number(whole(o.resident_bytes));
  json.key("resident_live_bytes").number(whole(o.resident_live_bytes));
  json.key("hole_bytes").number(whole(o.hole_bytes));
  json.key("alone_bytes").number(whole(o.alone_bytes));
  json.key("alone_hole_bytes").number(whole(o.alone_hole_bytes));
  json.key("at_peak_bytes").number(whole(o.at_peak_bytes)).close('}').line();
  json.key("before_recording").open('{').key("live_bytes").number(whole(s.before.live_bytes));
  json.key("resident_bytes").number(whole(s.before.resident_bytes));
  json.key("hole_bytes").number(whole(s.before.hole_bytes)).close('}').line();
}

void write_sizes(Json& json, std::span<const record::ExactSizes> sizes) noexcept {
  json.key("sizes").open('[');
  for (const record::ExactSizes& range : sizes) {
    json.open('{').key("from").number(range.from_bytes).key("to").number(range.to_bytes);
    json.key("allocated_count").number(range.allocated_count);
    json.key("live_count").number(range.live_count).close('}');
  }
  json.close(']');
}

void write_site(Json& json, const SiteRow& row, const Snapshot& s) noexcept {
  const bool exact = s.recording.exact.on;
  json.open('{').key("id").number(row.id);
  write_estimate(json, "live_bytes", row.live_bytes);
  write_estimate(json, "live_count", row.live_count);
  write_estimate(json, "allocated_bytes", row.allocated_bytes);
  write_estimate(json, "allocated_count", row.allocated_count);
  write_estimate(json, "resident_bytes", row.resident_bytes);
  write_estimate(json, "resident_live_bytes", row.resident_live_bytes);
  write_estimate(json, "hole_bytes", row.hole_bytes);
  for (const SiteFigure figure : {SiteFigure::kAlone, SiteFigure::kAloneHoles})
    write_if_told(json, facts_of(figure).field, facts_of(figure).of(row));
  write_estimate(json, "at_peak_bytes", row.at_peak_bytes);
  json.key("samples").number(row.samples).key("live_samples").number(row.live_samples);
  json.key("largest_bytes").number(row.largest_bytes);
  number_or_null(json, "peak_bytes", whole(row.peak_bytes.value), exact);
  number_or_null(json, "temporary_count", whole(row.temporary_count.value), exact);
  write_sizes(json, row.sizes);
  json.key("oldest_ns").number(row.oldest_ns).key("youngest_ns").number(row.youngest_ns);
  json.key("mean_age_ns").number(row.mean_age_ns);
  write_site_history_json(row.history, json);
  json.key("stack").open('[');
  for (int i = 0; i < row.depth; ++i)
    json.number(static_cast<std::uint64_t>(row.frames[i] - s.frames.data()));
  json.close(']');
  number_or_null(json, "named_by", static_cast<std::uint64_t>(row.naming.frame), row.depth > 0);
  json.close('}').line();
}

/// Each module and each frame once; frames refer to modules, stacks to frames.
void write_modules_and_frames(Json& json, const Snapshot& s) noexcept {
  json.key("modules").open('[').line();
  for (const ModuleRow& m : s.modules) {
    json.open('{').key("path").text(m.path).key("build_id").text(m.build_id);
    json.key("begin").hex(m.begin).key("end").hex(m.end).key("load_bias").hex(m.load_bias).close('}').line();
  }
  json.close(']').line().key("frames").open('[').line();
  for (const Frame& f : s.frames) {
    json.open('{').key("pc").hex(f.pc).key("module");
    f.module_index < 0 ? json.null() : json.signed_number(f.module_index);
    json.key("address").hex(f.module_address).key("function").text(f.function);
    json.key("offset").number(f.function_offset).close('}').line();
  }
  json.close(']').line();
}

}  // namespace

void write_json(const Snapshot& s, Sink& to) noexcept {
  Json json(to);
  json.open('{').line();
  json.key("schema_version").signed_number(kSchemaVersion);
  json.key("mallard_version").text(s.mallard_version).key("report_number").signed_number(s.number);
  json.key("reason").text(kReasons[static_cast<int>(s.reason)]);
  json.key("taken_at_ns").number(s.process.taken_at_ns).key("duration_ns").number(s.duration_ns).line();
  write_process(json, s);
  write_core_json(s.core, json);
  write_backend(json, s.allocator);
  write_recording(json, s);
  write_rss(json, s.rss);
  write_charge_json(s.charge, json);
  write_ledger_json(s, json);
  write_pins_json(s.ledger, json);
  write_heap_map_json(s.ledger, json);
  write_other_allocators_json(s, json);
  write_checks_json(s, json);
  write_verdict_json(s, json);
  write_remedies_json(s, json);
  write_history_json(s, json);
  write_totals(json, s);
  write_live_peak(json, s);
  write_probe_json(s, json);
  write_lost_json(s, json);
  write_latency_json(s, json);
  write_modules_and_frames(json, s);
  write_rest(json, s);
  json.key("sites").open('[').line();
  for (std::uint32_t i = 0; i < s.site_count; ++i) write_site(json, s.sites[i], s);
  json.close(']').close('}').line();
}

}  // namespace mallard::report
