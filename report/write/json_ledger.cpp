// SPDX-License-Identifier: Apache-2.0
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

void write_sharing(Json& json, const Sharing& sharing) noexcept {
  json.key("only_ours_bytes").number(sharing.only_ours);
  json.key("with_others_bytes").number(sharing.with_others);
}

void write_line(Json& json, const Snapshot& s, Cause cause) noexcept {
  const Ledger& ledger = s.ledger;
  const LedgerLine& line = ledger.lines[static_cast<int>(cause)];
  json.open('{').key("cause").text(facts_of(cause).name);
  write_estimate(json, "bytes", line.bytes);
  json.key("mappings").number(line.mappings);
  write_sharing(json, line.sharing);
  const bool dirty_known = cause == Cause::kFiles && ledger.dirty_known;
  number_or_null(json, "dirty_bytes", line.dirty, dirty_known).key("details").open('[');
  for (std::uint32_t i = 0; i < ledger.detail_count; ++i) {
    const LedgerDetail& d = ledger.details[i];
    if (d.cause != cause) continue;
    json.open('{').key("name").text(d.name);
    json.key("frame");
    d.frame ? json.number(static_cast<std::uint64_t>(d.frame - s.frames.data())) : json.null();
    json.key("allocator").text(d.allocator);
    json.key("bytes").number(d.bytes).key("mappings").number(d.mappings);
    write_sharing(json, d.sharing);
    number_or_null(json, "dirty_bytes", d.dirty, dirty_known).close('}');
  }
  json.close(']').close('}').line();
}

void write_cgroup(const CgroupCharge& c, Json& json) noexcept {
  if (!c.known) return void(json.null());
  json.open('{').key("version").number(static_cast<std::uint64_t>(c.version)).key("path").text(c.path);
  json.key("processes").number(c.processes).key("charged_bytes").number(c.charged);
  number_or_null(json, "limit_bytes", c.limit, c.has_limit);
  number_or_null(json, "anonymous_bytes", c.anonymous, c.is_alone);
  number_or_null(json, "page_cache_bytes", c.page_cache, c.is_alone);
  number_or_null(json, "shared_memory_bytes", c.shared_memory, c.is_alone);
  number_or_null(json, "page_table_bytes", c.page_tables, c.is_alone);
  number_or_null(json, "kernel_stack_bytes", c.kernel_stacks, c.is_alone && c.version == 2);
  number_or_null(json, "other_kernel_bytes", c.other_kernel, c.is_alone).close('}');
}

}  // namespace

void write_charge_json(const Charge& c, Json& json) noexcept {
  json.key("memory").open('{').key("known").flag(c.known).key("counts_bytes").number(c.counts);
  json.key("lazily_freed_known").flag(c.lazily_freed_known);
  number_or_null(json, "locked_file_bytes", c.locked_files, c.locked_files_known);
  number_or_null(json, "proportional_bytes", c.proportional, !c.proportional_why_not);
  text_or_null(json, "proportional_why_not", c.proportional_why_not);
  write_sharing(json, c.sharing);
  text_or_null(json, "sharing_why_not", c.sharing_why_not);
  write_cgroup(c.cgroup, json.key("cgroup"));
  json.close('}').line();
}

void write_ledger_json(const Snapshot& s, Json& json) noexcept {
  const Ledger& l = s.ledger;
  json.key("ledger").open('[').line();
  for (int i = 0; i < kCauseCount && l.known; ++i) write_line(json, s, static_cast<Cause>(i));
  json.close(']').key("unexplained_bytes");
  if (l.known) json.signed_number(l.unexplained_bytes);
  else json.null();
  json.line().key("ledger_about").open('{').key("known").flag(l.known);
  text_or_null(json, "why_not", l.why_not);
  json.key("divided").flag(l.divided);
  text_or_null(json, "not_divided_why", l.not_divided_why);
  json.key("by_pages").flag(l.by_pages);
  json.key("rounding_known").flag(l.rounding_known);
  text_or_null(json, "unit", l.unit_name);
  json.key("residency").text(kResidencyMethods[static_cast<int>(l.method)]);
  json.key("rss_bytes").number(l.rss_bytes);
  json.key("rss_before_bytes").number(l.rss_before_bytes).key("rss_after_bytes").number(l.rss_after_bytes);
  json.key("looks").number(static_cast<std::uint64_t>(l.looks));
  json.key("pinned_bytes").number(l.pinned_bytes).key("unattributed_bytes").number(l.unattributed_bytes);
  json.key("heap_huge_page_bytes").number(l.huge_bytes);
  const HugeZeros& zeros = l.huge_zeros;
  number_or_null(json, "huge_zero_bytes", static_cast<std::uint64_t>(zeros.bytes.value), zeros.known);
  text_or_null(json, "huge_zeros_why_not", zeros.why_not);
  json.key("heap_only_ours_bytes").number(l.heap_sharing.only_ours);
  json.key("heap_with_others_bytes").number(l.heap_sharing.with_others);
  json.key("ownerless_bytes").number(l.ownerless_bytes);
  json.key("arena_top_bytes").number(l.arena_top_bytes).key("arenas").number(l.arenas);
  json.key("threadless_arenas").number(l.threadless_arenas);
  const heaps::FreeMemory& free = l.free_memory;
  json.key("free_memory").open('{').key("main_top_bytes").number(free.main_top);
  json.key("top_excess_bytes").number(free.top_excess).key("in_arenas_bytes").number(free.in_arenas);
  json.key("large_free_bytes").number(free.large_free).key("cached_bytes").number(free.cached);
  json.key("cached_page_bytes").number(free.cached_pages).key("kept_page_bytes").number(free.kept_pages);
  json.key("uncollected_bytes").number(free.uncollected).close('}');
  json.key("thread_cached_bytes").number(l.thread_cached_bytes).key("examined").decimal(l.examined, 4);
  json.key("reads").number(l.reads).key("raced").number(l.raced);
  json.key("unlogged_mappings").number(l.unlogged_mappings);
  json.key("uncovered_samples").number(l.uncovered_blocks);
  json.key("unread_bytes").number(l.unread_bytes);
  json.key("counted_live_bytes");
  if (l.live_compared) json.number(static_cast<std::uint64_t>(l.counted_live_bytes));
  else json.null();
  write_estimate(json, "recorded_live_bytes", l.recorded_live_bytes);
  json.key("scan_ns").number(l.scan_ns).key("census_ns").number(l.census_ns).close('}').line();
}

}  // namespace mallard::report
