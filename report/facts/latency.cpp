// SPDX-License-Identifier: Apache-2.0
#include "report/facts/latency.hpp"

#include <algorithm>

#include "base/os.hpp"
#include "record/latency_clock.hpp"

namespace mallard::report {
namespace {

using record::LatencyCounts, record::Operation, record::SlowSite;

constexpr std::uint32_t kMostSites = 20;

double in_ns(double ticks, double tick_ns) noexcept { return rounded(ticks > 0 ? ticks * tick_ns : 0, 10); }

/// What it takes to tell times from ticks.
struct Clock {
  std::uint64_t own_ticks;
  double tick_ns;
};

void add(const LatencyCounts& from, LatencyCounts* to) noexcept {
  for (std::uint32_t b = 0; b < record::kBuckets; ++b) to->buckets[b] += from.buckets[b];
  to->most_ticks = std::max(to->most_ticks, from.most_ticks);
}

/// The rows of one operation: all of it, then the size groups that have calls.
void add_rows(Operation operation, Clock clock, LatencyCounts* scratch, Growing<LatencyRow>* rows) noexcept {
  const std::string_view name = record::kOperationNames[static_cast<int>(operation)];
  const std::size_t at = rows->size();
  LatencyCounts &all = scratch[0], &group = scratch[1];
  all = {};
  record::latency_add(operation, record::kUnknownSize, &all);
  const bool has_unknown = all.most_ticks > 0 || operation == Operation::kFree;
  rows->add({});
  for (int g = 0; g < record::kSizeGroups; ++g) {
    group = {};
    record::latency_add(operation, g, &group);
    LatencyRow row = row_of(group, clock.own_ticks, clock.tick_ns);
    if (row.timed == 0) continue;
    row.operation = name;
    row.up_to_bytes = g + 1 < record::kSizeGroups ? record::kSizeGroupEnds[g] : UINT64_MAX;
    rows->add(row);
    if (!has_unknown) add(group, &all);
    else all.most_ticks = std::max(all.most_ticks, group.most_ticks);  // whoever was asked its size
  }
  LatencyRow total = row_of(all, clock.own_ticks, clock.tick_ns);
  total.operation = name;
  if (rows->size() > at) (*rows)[at] = total;
}

/// Sites with most time first; what lies beyond kMostSites is left out.
bool copy_sites(Arena& arena, double tick_ns, Latency* out) noexcept {
  constexpr std::uint32_t kRoom = record::kMaxSlowSites + 1;
  auto* slow = arena.array<SlowSite>(kRoom);
  auto* sites = arena.array<LatencySite>(kMostSites);
  auto* stacks = arena.array<SiteRow>(kMostSites);
  if (!slow || !sites || !stacks) return false;
  const std::uint32_t count = record::latency_slow_sites(slow, kRoom);
  std::sort(slow, slow + count, [](const SlowSite& a, const SlowSite& b) { return a.ticks > b.ticks; });
  std::uint32_t shown = 0, depths = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const SlowSite& s = slow[i];
    LatencySite site{};
    for (int step = 0; step < record::kSlowSteps; ++step) {
      site.calls += s.calls[step];
      for (int over = 0; over < step; ++over) site.longer[over] += s.calls[step];
    }
    site.operation = record::kOperationNames[static_cast<int>(s.operation)];
    site.sum_ns = in_ns(static_cast<double>(s.ticks), tick_ns);
    site.most_ns = in_ns(static_cast<double>(s.most_ticks), tick_ns);
    out->slow_calls += site.calls;
    out->slow_sum_ns += site.sum_ns;
    if (shown == kMostSites) continue;
    site.row = LatencySite::kNoStack;
    if (s.has_site) {
      site.row = depths;
      SiteRow& row = stacks[depths++];
      row.id = static_cast<std::uint32_t>(s.site);
      row.depth = static_cast<int>(record::site(s.site).depth.load(std::memory_order_relaxed));
    }
    sites[shown++] = site;
  }
  out->slow_sum_ns = rounded(out->slow_sum_ns, 10);
  out->sites = {sites, shown};
  out->stacks = {stacks, depths};
  return true;
}

}  // namespace

LatencyRow row_of(const LatencyCounts& counts, std::uint64_t own_ticks, double tick_ns) noexcept {
  LatencyRow row{};
  const auto own = static_cast<double>(own_ticks);
  double sum = 0;
  for (std::uint32_t b = 0; b < record::kBuckets; ++b) {
    row.timed += counts.buckets[b];
    sum += static_cast<double>(counts.buckets[b]) * std::max(record::bucket_middle(b) - own, 0.0);
  }
  if (row.timed == 0) return row;
  row.mean_ns = in_ns(sum / static_cast<double>(row.timed), tick_ns);
  const auto most = static_cast<double>(counts.most_ticks);
  row.most_ns = in_ns(most - own, tick_ns);
  std::uint64_t before = 0;
  int next = 0;
  for (std::uint32_t b = 0; b < record::kBuckets && next < kQuantileCount; ++b) {
    before += counts.buckets[b];
    // The call that at least this part of all calls was as fast as.
    while (next < kQuantileCount && row.told(next) &&
           static_cast<double>(before) >= kQuantiles[next].part * static_cast<double>(row.timed))
      row.quantiles_ns[next++] = in_ns(std::min(record::bucket_middle(b), most) - own, tick_ns);
    if (next < kQuantileCount && !row.told(next)) break;
  }
  return row;
}

bool copy_latency(Arena& arena, Latency* out) noexcept {
  out->on = record::latency_is_on();
  if (!out->on) return true;
  record::latency_clock_refine();
  const Clock clock{record::latency_clock_own_ticks(), record::latency_tick_ns()};
  out->every = record::latency_every();
  out->since_ns = os::monotonic_ns() - record::latency_since_ns();
  out->clock = view_of(record::latency_clock_name());
  out->own_ns = in_ns(static_cast<double>(clock.own_ticks), clock.tick_ns);
  out->went_back = record::latency_went_back();
  out->slow_ns = record::kSlowNs;
  constexpr int kScratch = 2;
  auto* scratch = arena.array<LatencyCounts>(kScratch);
  Growing<LatencyRow> rows(arena);
  if (!scratch) return false;
  for (int i = 0; i < record::kOperations; ++i) {
    const std::size_t before = rows.size();
    add_rows(static_cast<Operation>(i), clock, scratch, &rows);
    const bool has_calls = rows.size() > before + 1 || (rows.size() > before && rows[before].timed > 0);
    if (!has_calls) rows.drop_to(before);
  }
  out->rows = rows.all();
  return !rows.out_of_memory() && copy_sites(arena, clock.tick_ns, out);
}

}  // namespace mallard::report
