// SPDX-License-Identifier: Apache-2.0
// How long calls took, as text and as JSON.
#include <initializer_list>

#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kNameColumns = 15, kCountColumns = 9, kTimeColumns = 9;

void add_time_column(Sink& to, double ns, std::size_t width = kTimeColumns) noexcept {
  Cell cell;
  add_time(cell, ns);
  add_right(to, cell.view(), width);
}

void add_count_column(Sink& to, std::uint64_t count, std::size_t width) noexcept {
  Cell cell;
  add_count(cell, static_cast<double>(count));
  add_right(to, cell.view(), width);
}

void write_heads(Sink& to) noexcept {
  to.add_spaces(kNameColumns);
  add_right(to, "timed", kCountColumns);
  for (const QuantileFacts& q : kQuantiles) add_right(to, q.column, kTimeColumns);
  add_right(to, "max", kTimeColumns);
  to.add('\n');
}

void write_row(const LatencyRow& row, Sink& to) noexcept {
  Cell name;
  if (row.is_total()) name.add("  ").add(row.operation);
  else if (row.up_to_bytes == UINT64_MAX) name.add("    larger");
  else add_bytes(name.add("    to "), static_cast<double>(row.up_to_bytes));
  to.add(name.view());
  if (name.size() < kNameColumns) to.add_spaces(kNameColumns - name.size());
  add_count_column(to, row.timed, kCountColumns);
  for (int i = 0; i < kQuantileCount; ++i)
    if (row.told(i)) add_time_column(to, row.quantiles_ns[i]);
    else add_right(to, "-", kTimeColumns);
  if (row.timed > 0 || row.most_ns > 0) add_time_column(to, row.most_ns);
  else add_right(to, "-", kTimeColumns);
  to.add('\n');
}

void write_about(const Latency& l, Sink& to) noexcept {
  FixedText<256> text;
  add_grouped(text.add("1 call of "), l.every);
  add_duration(text.add(", for "), l.since_ns);
  add_time(text.add(", less the clock's own "), l.own_ns);
  label(to, "timed");
  add_wrapped(to, text.view(), kLabelColumns);
  if (l.clock != "tsc") labelled_line(to, "clock", Printable{l.clock});
  if (l.went_back > 0)
    labelled_line(to, "not counted", as_grouped(l.went_back), " calls whose clock went backwards");
  if (l.every > 1)
    labelled_line(to, "may be missing", "a stall that came fewer than ", as_grouped(surely_seen(l.every)),
                  " times (95 %)");
}

void write_site(const Snapshot& s, const LatencySite& site, int most_frames, Sink& to) noexcept {
  add_count_column(to, site.calls, 9);
  for (const std::uint64_t longer : site.longer) add_count_column(to, longer, 9);
  add_time_column(to, site.sum_ns, 11);
  add_time_column(to, site.most_ns, 11);
  add_parts(to, "  ", site.operation, "\n");
  if (site.row == LatencySite::kNoStack)
    return void(to.add(s.recording.on
                           ? "        (no stack: it came while one was taken, or a table is full)\n"
                           : "        (mode off knows no call sites)\n"));
  write_stack(s.latency.stacks[site.row], s.process, most_frames, to);
}

void write_sites(const Snapshot& s, int most_frames, Sink& to) noexcept {
  const Latency& l = s.latency;
  if (l.sites.empty()) return;
  FixedText<320> text;
  add_grouped(text, l.slow_calls);
  add_time(text.add(" of the timed calls took "), static_cast<double>(l.slow_ns));
  add_time(text.add(" or longer, "), l.slow_sum_ns);
  text.add(
      " together. What they waited for is not measured: page faults, the kernel, a lock, or a processor "
      "that ");
  text.add("others had.");
  heading(to, "Slow calls, by call site");
  to.add("  ");
  add_wrapped(to, text.view(), 2);
  for (const std::string_view head : {"calls", "10 us+", "100 us+", "1 ms+", "10 ms+"})
    add_right(to, head, 9);
  for (const std::string_view head : {"together", "longest"}) add_right(to, head, 11);
  to.add("  operation\n");
  for (const LatencySite& site : l.sites) write_site(s, site, most_frames, to);
}

void ns_or_null(Json& json, std::string_view name, double ns, bool told) noexcept {
  json.key(name);
  if (told) json.decimal(ns, 1);
  else json.null();
}

void write_row_json(const LatencyRow& row, Json& json) noexcept {
  json.open('{').key("operation").text(row.operation).key("up_to_bytes");
  if (row.is_total() || row.up_to_bytes == UINT64_MAX) json.null();
  else json.number(row.up_to_bytes);
  json.key("all_sizes").flag(row.is_total()).key("timed").number(row.timed);
  ns_or_null(json, "mean_ns", row.mean_ns, row.timed > 0);
  for (int i = 0; i < kQuantileCount; ++i)
    ns_or_null(json, kQuantiles[i].field, row.quantiles_ns[i], row.told(i));
  json.key("max_ns").decimal(row.most_ns, 1).close('}').line();
}

void write_site_json(const Snapshot& s, const LatencySite& site, Json& json) noexcept {
  const bool known = site.row != LatencySite::kNoStack;
  const SiteRow none{}, &row = known ? s.latency.stacks[site.row] : none;
  json.open('{').key("operation").text(site.operation);
  number_or_null(json, "site", row.id, known).key("calls").number(site.calls);
  constexpr std::string_view kFields[] = {"from_10_us", "from_100_us", "from_1_ms", "from_10_ms"};
  for (std::size_t i = 0; i < std::size(kFields); ++i) json.key(kFields[i]).number(site.longer[i]);
  json.key("sum_ns").decimal(site.sum_ns, 1).key("max_ns").decimal(site.most_ns, 1).key("stack").open('[');
  for (int i = 0; i < row.depth; ++i)
    json.number(static_cast<std::uint64_t>(row.frames[i] - s.frames.data()));
  json.close(']');
  number_or_null(json, "named_by", static_cast<std::uint64_t>(row.naming.frame), row.depth > 0);
  json.close('}').line();
}

}  // namespace

void write_latency(const Snapshot& s, int most_frames, Sink& to) noexcept {
  const Latency& l = s.latency;
  if (!l.on) return;
  heading(to, "Latency of the allocator's calls");
  write_about(l, to);
  if (l.rows.empty()) return void(to.add("  No call has been timed yet.\n"));
  write_heads(to);
  bool asked = false;
  for (const LatencyRow& row : l.rows) {
    if (most_frames == 0 && !row.is_total()) continue;
    asked |= !row.is_total() &&
             row.operation == record::kOperationNames[static_cast<int>(record::Operation::kFree)];
    write_row(row, to);
  }
  if (asked)
    to.add(
        "  Frees by size are others than those of all sizes: the block's size was asked first,\n"
        "  which brings its header into the cache.\n");
  if (most_frames > 0) write_sites(s, most_frames, to);
}

void write_latency_json(const Snapshot& s, Json& json) noexcept {
  const Latency& l = s.latency;
  json.key("latency");
  if (!l.on) return void(json.null().line());
  json.open('{').key("every").number(l.every).key("since_ns").number(l.since_ns);
  json.key("clock").text(l.clock).key("own_ns").decimal(l.own_ns, 1);
  json.key("went_back").number(l.went_back).key("calls").open('[').line();
  for (const LatencyRow& row : l.rows) write_row_json(row, json);
  json.close(']').key("slow").open('{').key("from_ns").number(l.slow_ns);
  json.key("calls").number(l.slow_calls).key("sum_ns").decimal(l.slow_sum_ns, 1);
  json.key("sites").open('[').line();
  for (const LatencySite& site : l.sites) write_site_json(s, site, json);
  json.close(']').close('}').close('}').line();
}

}  // namespace mallard::report
