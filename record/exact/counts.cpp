// SPDX-License-Identifier: Apache-2.0
#include "record/exact/counts.hpp"

#include <cstddef>
#include <initializer_list>

#include "base/growing.hpp"
#include "base/os.hpp"
#include "record/published.hpp"

namespace mallard::record {
namespace {

constexpr std::uint32_t kLastRows = kRanges + 1;  // kept for the overflow site

/// Counts that belong to a site as a whole, indexed by its id.
struct SiteRow {
  std::atomic<std::uint32_t> first_row;
  Level level;
};

constinit GrowingArray<CountRow, kMaxCountRows> g_rows;
constinit GrowingArray<SiteRow, kMaxSites> g_sites;
constinit std::atomic<std::uint32_t> g_end{1};
constinit std::atomic<std::uint32_t> g_sites_end{0};
constinit Level g_process{};
constinit PeakWatch g_peak;
MALLARD_PART(count_rows, g_rows);
MALLARD_PART(counted_sites, g_sites);
MALLARD_PART(count_rows_end, g_end);
MALLARD_PART(counted_sites_end, g_sites_end);
MALLARD_PART(exact_process, g_process);
MALLARD_PART(exact_peak, g_peak);

SiteRow* site_row_of(std::uint32_t site) noexcept {
  if (MALLARD_UNLIKELY(!g_sites.open(site + 1))) return nullptr;
  std::uint32_t end = g_sites_end.load(std::memory_order_relaxed);
  while (end <= site && !g_sites_end.compare_exchange_weak(end, site + 1, std::memory_order_relaxed)) {
  }
  return &g_sites[site];
}

std::uint32_t make_row(bool last_rows_too) noexcept {
  const std::uint32_t limit = last_rows_too ? kMaxCountRows : kMaxCountRows - kLastRows;
  std::uint32_t row = g_end.load(std::memory_order_relaxed);
  do {
    if (row >= limit || !g_rows.open(row + 1)) return 0;
  } while (!g_end.compare_exchange_weak(row, row + 1, std::memory_order_acq_rel));
  return row;
}

std::uint32_t find_in(std::uint32_t from, std::uint32_t stop, RangeId range) noexcept {
  for (std::uint32_t row = from; row != stop; row = g_rows[row].next)
    if (g_rows[row].range == range) return row;
  return 0;
}

std::uint32_t find_or_make(std::uint32_t site, RangeId range) noexcept {
  SiteRow* of_site = site_row_of(site);
  if (!of_site) return 0;
  std::uint32_t first = of_site->first_row.load(std::memory_order_acquire), made = 0;
  if (std::uint32_t row = find_in(first, 0, range)) return row;
  made = make_row(site == static_cast<std::uint32_t>(kOverflowSite));
  if (!made) return 0;
  CountRow& row = g_rows[made];
  row.site = site;
  row.range = range;
  for (;;) {
    row.next = first;
    // Release: who finds the row finds it complete.
    if (of_site->first_row.compare_exchange_weak(first, made, std::memory_order_acq_rel)) return made;
    // Another thread was first, perhaps with the same row; the one made here then stays unused.
    if (std::uint32_t there = find_in(first, row.next, range)) return there;
  }
}

void add(std::atomic<std::uint64_t>& to, std::uint64_t value) noexcept {
  if (value) to.fetch_add(value, std::memory_order_relaxed);
}

}  // namespace

bool counts_init() noexcept {
  if (!((g_rows || g_rows.init()) && (g_sites || g_sites.init()) && g_rows.open(1) && g_sites.open(1)))
    return false;
  static_assert(offsetof(CountRow, freed_count) ==
                offsetof(CountRow, allocated_bytes) + (Published::kCounts - 1) * sizeof(std::uint64_t));
  mallard_published.count_rows = {address_of(g_rows.data()), address_of(&g_end), sizeof(CountRow),
                                  offsetof(CountRow, site), offsetof(CountRow, allocated_bytes)};
  return true;
}

void counts_release() noexcept {
  mallard_published.count_rows = {};
  g_rows.release();
  g_sites.release();
}

void counts_clear() noexcept {
  for (std::uint32_t i = 1; i < count_rows_end(); ++i) {
    CountRow& c = g_rows[i];
    for (auto* count :
         {&c.allocated_bytes, &c.allocated_count, &c.freed_bytes, &c.freed_count, &c.temporary_count})
      count->store(0, std::memory_order_relaxed);
  }
  const auto clear = [](Level& level) {
    level.live_bytes.store(0, std::memory_order_relaxed);
    level.peak_bytes.store(0, std::memory_order_relaxed);
    level.largest_bytes.store(0, std::memory_order_relaxed);
    level.at_peak.clear();
  };
  for (std::uint32_t i = 0; i < g_sites_end.load(std::memory_order_relaxed); ++i) clear(g_sites[i].level);
  clear(g_process);
  g_peak.clear();
}

std::uint32_t find_count_row(SiteId site, RangeId range) noexcept {
  const std::uint32_t row = find_or_make(static_cast<std::uint32_t>(site), range);
  return MALLARD_LIKELY(row) ? row : find_or_make(static_cast<std::uint32_t>(kOverflowSite), range);
}

CountRow& count_row_at(std::uint32_t row) noexcept { return g_rows[row]; }
std::uint32_t count_rows_end() noexcept { return g_end.load(std::memory_order_acquire); }

std::uint32_t first_count_row_of(SiteId site) noexcept {
  const auto index = static_cast<std::uint32_t>(site);
  return index < g_sites_end.load(std::memory_order_relaxed)
             ? g_sites[index].first_row.load(std::memory_order_acquire)
             : 0;
}

std::uint32_t counted_sites_end() noexcept { return g_sites_end.load(std::memory_order_relaxed); }
Level& level_of(std::uint32_t site) noexcept { return g_sites[site].level; }
Level& process_level() noexcept { return g_process; }
PeakWatch& process_peak() noexcept { return g_peak; }

void raise_to(std::atomic<std::uint64_t>& largest, std::uint64_t value) noexcept {
  std::uint64_t now = largest.load(std::memory_order_relaxed);
  while (now < value && !largest.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
  }
}

void raise_to(std::atomic<std::int64_t>& largest, std::int64_t value) noexcept {
  std::int64_t now = largest.load(std::memory_order_relaxed);
  while (now < value && !largest.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
  }
}

void add_to_count_row(CountRow& row, const Counts& counts) noexcept {
  add(row.allocated_bytes, counts.allocated_bytes);
  add(row.allocated_count, counts.allocated_count);
  add(row.freed_bytes, counts.freed_bytes);
  add(row.freed_count, counts.freed_count);
  add(row.temporary_count, counts.temporary_count);
}

void add_to_level(Level& level, std::int64_t delta, std::int64_t most) noexcept {
  level.at_peak.keep(g_peak.number(), level.live_bytes.load(std::memory_order_relaxed));
  const std::int64_t before = level.live_bytes.fetch_add(delta, std::memory_order_relaxed);
  raise_to(level.peak_bytes, before + most);
}

bool counts_adopt(const OtherParts& parts) noexcept {
  if (!parts.adopt(g_process) || !parts.adopt(g_peak) || !parts.adopt(g_sites_end) || !parts.adopt(g_end))
    return false;
  const std::uint32_t rows = g_end.load(std::memory_order_relaxed);
  const std::uint32_t sites = g_sites_end.load(std::memory_order_relaxed);
  return rows <= kMaxCountRows && sites <= kMaxSites && g_sites.adopt(parts, sites) &&
         g_rows.adopt(parts, rows);
}

bool counts_adopt_again(const OtherParts& parts) noexcept {
  return g_rows.adopt(parts, g_end.load(std::memory_order_relaxed));
}

std::uint64_t counts_own_bytes() noexcept {
  return (g_rows ? os::resident_bytes(g_rows.data(), count_rows_end() * sizeof(CountRow)) : 0) +
         (g_sites ? os::resident_bytes(g_sites.data(),
                                       g_sites_end.load(std::memory_order_relaxed) * sizeof(SiteRow))
                  : 0);
}

}  // namespace mallard::record
