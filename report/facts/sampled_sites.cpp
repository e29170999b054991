// SPDX-License-Identifier: Apache-2.0
#include "report/facts/sampled_sites.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"

namespace mallard::report {
namespace {

void add_live_block(SiteRow& row, const record::LiveBlock& block, std::uint64_t now_ns) noexcept {
  row.live_bytes.add(block.weight, static_cast<double>(block.asked_bytes));
  row.live_count.add(block.weight, 1);
  add_age(row, block, row.live_count.value, now_ns);
}

void add_to(Estimate& total, const Estimate& part) noexcept {
  total.value += part.value;
  total.variance += part.variance;
}

/// Bytes that samples stood for, of which each has a variance of at most the mean between samples times its
/// bytes.
Estimate stood_for(std::uint64_t bytes) noexcept {
  const auto value = static_cast<double>(bytes);
  Estimate e{value, value * static_cast<double>(record::sampler_mean_bytes()), false, 0, 0};
  set_interval(e);
  return e;
}

void read_site(std::uint32_t id, SiteRow& row) noexcept {
  const record::Site& site = record::site(record::SiteId{id});
  const record::SiteSums& sums = record::site_sums(site);
  const auto get = [](const auto& value) { return value.load(std::memory_order_relaxed); };
  row.id = id;
  row.depth = static_cast<int>(get(site.depth));
  row.allocated_bytes = {get(sums.allocated_bytes), get(sums.allocated_bytes_variance), false, 0, 0};
  row.allocated_count = {get(sums.allocated_count), get(sums.allocated_count_variance), false, 0, 0};
  row.at_peak_bytes = stood_for(record::sampled_at_peak(site));
  row.samples = get(sums.samples);
  row.largest_bytes = get(sums.largest_bytes);
}

}  // namespace

std::span<const record::LiveBlock> copy_live_samples(Arena& arena, Recording* out) noexcept {
  // In this order no sample is freed or live that is not counted: freed, live, all.
  out->counters = record::counters();
  // Room for a little more than it holds now; what comes meanwhile and does not fit is counted.
  const std::uint32_t room = record::live_count() + record::live_count() / 8 + 1024;
  auto* blocks = arena.array<record::LiveBlock>(room);
  if (!blocks) return {};
  std::uint32_t count = 0;
  for (std::uint32_t shard = 0; shard < record::kShards; ++shard) {
    const std::uint32_t left = room - count;
    const std::uint32_t held = record::live_copy_shard(shard, blocks + count, left);
    count += held < left ? held : left;
    out->skipped_live += held < left ? 0 : held - left;
  }
  out->live_samples = count;
  out->counters.sampled = record::counters().sampled;
  out->stacks = unwind::stack_stats();
  return {blocks, count};
}

void add_age(SiteRow& row, const record::LiveBlock& block, double weight_so_far,
             std::uint64_t now_ns) noexcept {
  const std::uint64_t age = now_ns > block.born_ns ? now_ns - block.born_ns : 0;
  if (row.live_samples == 0 || age > row.oldest_ns) row.oldest_ns = age;
  if (row.live_samples == 0 || age < row.youngest_ns) row.youngest_ns = age;
  ++row.live_samples;
  const double mean = static_cast<double>(row.mean_age_ns);  // a running one, by weight
  row.mean_age_ns = std::clamp(
      static_cast<std::uint64_t>(mean + (static_cast<double>(age) - mean) * block.weight / weight_so_far),
      row.youngest_ns, row.oldest_ns);
}

/// Sites where nothing was sampled have no row: they were met by exact mode, or found the sums full.
bool choose_sampled(Arena& arena, RecordCopy* copy) noexcept {
  const std::uint32_t sites = record::site_count();
  auto* row_of = arena.array<std::uint32_t>(sites + 1);
  if (!row_of) return false;
  std::uint32_t rows = 0;
  for (std::uint32_t id = 0; id < sites; ++id) {
    const record::Site& site = record::site(record::SiteId{id});
    const bool is_sampled = id == 0 || site.sums.load(std::memory_order_relaxed) != 0;
    row_of[id] = is_sampled ? rows++ : RecordCopy::kNoRow;
  }
  copy->rows = arena.array<SiteRow>(rows + 1);
  if (!copy->rows) return false;
  for (std::uint32_t id = 0; id < sites; ++id)
    if (row_of[id] != RecordCopy::kNoRow) read_site(id, copy->rows[row_of[id]]);
  copy->row_of = row_of;
  copy->site_count = sites;
  copy->row_count = rows;
  return true;
}

bool copy_record(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept {
  // Blocks before sums: a sample is in its site's sums before it is live, so that none is live that they
  // lack.
  const std::span<const record::LiveBlock> live = copy_live_samples(arena, &out->recording);
  const std::uint64_t now = os::monotonic_ns();
  if (!live.data() || !choose_sampled(arena, copy)) return false;
  SiteRow* const rows = copy->rows;
  const std::uint32_t count = copy->row_count;
  for (const record::LiveBlock& block : live) {
    SiteRow* const row = copy->find(block.site);
    if (!row) continue;
    add_live_block(*row, block, now);
    if (block.born_ns < record::forked_ns())
      out->inherited_live_bytes.add(block.weight, static_cast<double>(block.asked_bytes));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    SiteRow& row = rows[i];
    add_to(out->live_bytes, row.live_bytes);
    add_to(out->live_count, row.live_count);
    add_to(out->allocated_bytes, row.allocated_bytes);
    add_to(out->allocated_count, row.allocated_count);
    for (Estimate* e : {&row.live_bytes, &row.live_count, &row.allocated_bytes, &row.allocated_count})
      set_interval(*e);
  }
  for (Estimate* e : {&out->live_bytes, &out->live_count, &out->allocated_bytes, &out->allocated_count,
                      &out->inherited_live_bytes})
    set_interval(*e);
  // With samples lost, live figures are too low by an unknown amount: no interval can be stated.
  const record::Counters& lost = out->recording.counters;
  if (lost.dropped_full != 0) {
    for (std::uint32_t i = 0; i < count; ++i)
      rows[i].live_bytes.has_interval = rows[i].live_count.has_interval = rows[i].at_peak_bytes.has_interval =
          false;
    out->live_bytes.has_interval = out->live_count.has_interval = out->inherited_live_bytes.has_interval =
        false;
  }
  const record::Peak peak = record::sampled_peak();
  out->peak = {peak.bytes > 0, now - std::min(now, peak.at_ns), stood_for(peak.bytes), false};
  out->inherited = record::forked_ns() != 0;
  copy->blocks = live;
  copy->read_ns = now;
  return true;
}

double allocated_since(const RecordCopy& copy) noexcept {
  double before = 0, now = 0;
  for (const SiteRow& row : copy.all_rows()) before += row.allocated_bytes.value;
  const std::uint32_t sites = record::site_count();
  for (std::uint32_t id = 0; id < sites; ++id)
    now +=
        record::site_sums(record::site(record::SiteId{id})).allocated_bytes.load(std::memory_order_relaxed);
  return std::max(0.0, now - before);
}

SiteRow* order_sites(const RecordCopy& copy, Snapshot* out) noexcept {
  // Row 0, the overflow site, is shown only if something is booked on it.
  const std::uint32_t first = !copy.exact && copy.rows[0].samples == 0 ? 1 : 0;
  SiteRow* const rows = copy.rows + first;
  const std::uint32_t count = copy.row_count - first;
  std::sort(rows, rows + count, [](const SiteRow& a, const SiteRow& b) {
    if (a.live_bytes.value != b.live_bytes.value) return a.live_bytes.value > b.live_bytes.value;
    if (a.allocated_bytes.value != b.allocated_bytes.value)
      return a.allocated_bytes.value > b.allocated_bytes.value;
    return a.id < b.id;
  });
  out->sites = rows;
  out->site_count = count;
  if (!copy.exact) out->recording.sites = count;
  return rows;
}

}  // namespace mallard::report
