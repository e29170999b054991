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
  std::atomic<std::uint32_t> first_cell;
  Level level;
};

constinit GrowingArray<Cell, kMaxCells> g_cells;
constinit GrowingArray<SiteRow, kMaxSites> g_sites;
constinit std::atomic<std::uint32_t> g_end{1};
constinit std::atomic<std::uint32_t> g_sites_end{0};
constinit Level g_process{};

SiteRow* row_of(std::uint32_t site) noexcept {
  if (MALLARD_UNLIKELY(!g_sites.open(site + 1))) return nullptr;
  std::uint32_t end = g_sites_end.load(std::memory_order_relaxed);
  while (end <= site && !g_sites_end.compare_exchange_weak(end, site + 1, std::memory_order_relaxed)) {
  }
  return &g_sites[site];
}

std::uint32_t take_cell(bool last_rows_too) noexcept {
  const std::uint32_t limit = last_rows_too ? kMaxCells : kMaxCells - kLastRows;
  std::uint32_t cell = g_end.load(std::memory_order_relaxed);
  do {
    if (cell >= limit || !g_cells.open(cell + 1)) return 0;
  } while (!g_end.compare_exchange_weak(cell, cell + 1, std::memory_order_acq_rel));
  return cell;
}

std::uint32_t find_in(std::uint32_t from, std::uint32_t stop, RangeId range) noexcept {
  for (std::uint32_t cell = from; cell != stop; cell = g_cells[cell].next)
    if (g_cells[cell].range == range) return cell;
  return 0;
}

std::uint32_t find_or_make(std::uint32_t site, RangeId range) noexcept {
  SiteRow* row = row_of(site);
  if (!row) return 0;
  std::uint32_t first = row->first_cell.load(std::memory_order_acquire), made = 0;
  if (std::uint32_t cell = find_in(first, 0, range)) return cell;
  made = take_cell(site == static_cast<std::uint32_t>(kOverflowSite));
  if (!made) return 0;
  Cell& cell = g_cells[made];
  cell.site = site;
  cell.range = range;
  for (;;) {
    cell.next = first;
    // Release: who finds the cell finds it complete.
    if (row->first_cell.compare_exchange_weak(first, made, std::memory_order_acq_rel)) return made;
    // Another thread was first, perhaps with the same cell; the one made here then stays unused.
    if (std::uint32_t there = find_in(first, cell.next, range)) return there;
  }
}

void add(std::atomic<std::uint64_t>& to, std::uint64_t value) noexcept {
  if (value) to.fetch_add(value, std::memory_order_relaxed);
}

}  // namespace

bool cells_init() noexcept {
  if (!((g_cells || g_cells.init()) && (g_sites || g_sites.init()) && g_cells.open(1) && g_sites.open(1)))
    return false;
  static_assert(offsetof(Cell, freed_count) ==
                offsetof(Cell, allocated_bytes) + (Published::kCounts - 1) * sizeof(std::uint64_t));
  mallard_published.cells = {address_of(g_cells.data()), address_of(&g_end), sizeof(Cell),
                             offsetof(Cell, site), offsetof(Cell, allocated_bytes)};
  return true;
}

void cells_release() noexcept {
  mallard_published.cells = {};
  g_cells.release();
  g_sites.release();
}

void cells_clear() noexcept {
  for (std::uint32_t i = 1; i < cells_end(); ++i) {
    Cell& c = g_cells[i];
    for (auto* count :
         {&c.allocated_bytes, &c.allocated_count, &c.freed_bytes, &c.freed_count, &c.temporary_count})
      count->store(0, std::memory_order_relaxed);
  }
  const auto clear = [](Level& level) {
    level.live_bytes.store(0, std::memory_order_relaxed);
    level.peak_bytes.store(0, std::memory_order_relaxed);
    level.largest_bytes.store(0, std::memory_order_relaxed);
  };
  for (std::uint32_t i = 0; i < g_sites_end.load(std::memory_order_relaxed); ++i) clear(g_sites[i].level);
  clear(g_process);
}

std::uint32_t find_cell(SiteId site, RangeId range) noexcept {
  const std::uint32_t cell = find_or_make(static_cast<std::uint32_t>(site), range);
  return MALLARD_LIKELY(cell) ? cell : find_or_make(static_cast<std::uint32_t>(kOverflowSite), range);
}

Cell& cell_at(std::uint32_t cell) noexcept { return g_cells[cell]; }
std::uint32_t cells_end() noexcept { return g_end.load(std::memory_order_acquire); }

std::uint32_t first_cell_of(SiteId site) noexcept {
  const auto index = static_cast<std::uint32_t>(site);
  return index < g_sites_end.load(std::memory_order_relaxed)
             ? g_sites[index].first_cell.load(std::memory_order_acquire)
             : 0;
}

std::uint32_t sites_with_cells_end() noexcept { return g_sites_end.load(std::memory_order_relaxed); }
Level& level_of(std::uint32_t site) noexcept { return g_sites[site].level; }
Level& process_level() noexcept { return g_process; }

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

void add_to_cell(Cell& cell, const Counts& counts) noexcept {
  add(cell.allocated_bytes, counts.allocated_bytes);
  add(cell.allocated_count, counts.allocated_count);
  add(cell.freed_bytes, counts.freed_bytes);
  add(cell.freed_count, counts.freed_count);
  add(cell.temporary_count, counts.temporary_count);
}

void add_to_level(Level& level, std::int64_t delta, std::int64_t most) noexcept {
  const std::int64_t before = level.live_bytes.fetch_add(delta, std::memory_order_relaxed);
  raise_to(level.peak_bytes, before + most);
}

std::uint64_t cells_own_bytes() noexcept {
  return (g_cells ? os::resident_bytes(g_cells.data(), cells_end() * sizeof(Cell)) : 0) +
         (g_sites ? os::resident_bytes(g_sites.data(),
                                       g_sites_end.load(std::memory_order_relaxed) * sizeof(SiteRow))
                  : 0);
}

}  // namespace mallard::record
