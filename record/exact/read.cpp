// SPDX-License-Identifier: Apache-2.0
// Reading the exact books while threads go on booking. A row's counts are its own and what the threads have
// in their entries; an entry that moves meanwhile shows in its version, and the row is read again.
#include "base/os.hpp"
#include "record/exact/counts.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/path_counts.hpp"
#include "record/exact/shadow.hpp"
#include "record/exact/state.hpp"
#include "record/exact/thread_record.hpp"

namespace mallard::record {
namespace {

std::uint32_t epoch_read() noexcept {
  const std::uint32_t epoch = g_exact_epoch.load(std::memory_order_acquire);
  return epoch & 1 ? epoch : epoch - 1;  // of the books that have ended
}

/// Acquire, so that counts are read in the order that stands here.
std::uint64_t get(const std::atomic<std::uint64_t>& count) noexcept {
  return count.load(std::memory_order_acquire);
}

/// The threads that have something in their entry at one place of the cache. Who comes later counts later.
class Entries {
 public:
  void collect(std::uint32_t place) noexcept {
    count_ = 0;
    const std::uint32_t epoch = epoch_read();
    for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
      ThreadRecord& record = thread_record_at(i);
      if (record.epoch.load(std::memory_order_acquire) != epoch) continue;
      CountEntry& entry = record.counts[place];
      if (entry.row.load(std::memory_order_relaxed) || entry.version.load(std::memory_order_relaxed) & 1)
        indices_[count_++] = static_cast<std::uint16_t>(i);
    }
    place_ = place;
  }

  /// Counts of one row at this place of the cache, in the order against that of counting: a block that comes
  /// and goes meanwhile is never freed before it was allocated, nor temporary before it was freed.
  Counts read(CountRow& row, std::uint32_t index) const noexcept {
    constexpr int kTries = 16;
    Counts sum{};
    for (int i = 0; i < kTries; ++i) {
      const std::uint64_t before = versions();
      std::atomic_thread_fence(std::memory_order_acquire);
      sum = {};
      sum.temporary_count = get(row.temporary_count);
      sum.freed_bytes = get(row.freed_bytes);
      sum.freed_count = get(row.freed_count);
      each(index, [&](const CountEntry& e) {
        sum.temporary_count += get(e.temporary_count);
        sum.freed_bytes += get(e.freed_bytes);
        sum.freed_count += get(e.freed_count);
      });
      sum.allocated_bytes = get(row.allocated_bytes);
      sum.allocated_count = get(row.allocated_count);
      each(index, [&](const CountEntry& e) {
        sum.allocated_bytes += get(e.allocated_bytes);
        sum.allocated_count += get(e.allocated_count);
      });
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before == versions() && !(before & kMoves)) break;
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t kMoves = std::uint64_t{1} << 63;

  const CountEntry& entry(std::uint32_t i) const noexcept {
    return thread_record_at(indices_[i]).counts[place_];
  }

  template <typename Do>
  void each(std::uint32_t row, Do act) const noexcept {
    for (std::uint32_t i = 0; i < count_; ++i)
      if (entry(i).row.load(std::memory_order_relaxed) == row) act(entry(i));
  }

  std::uint64_t versions() const noexcept {
    std::uint64_t sum = 0, moves = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      const std::uint32_t version = entry(i).version.load(std::memory_order_acquire);
      sum += version;
      moves |= version & 1;
    }
    return sum | (moves ? kMoves : 0);
  }

  std::uint32_t place_ = 0, count_ = 0;
  std::uint16_t indices_[kMaxThreadRecords];
};

void add(ExactCounts& to, const Counts& counts) noexcept {
  to.allocated_bytes += counts.allocated_bytes;
  to.allocated_count += counts.allocated_count;
  to.freed_bytes += counts.freed_bytes;
  to.freed_count += counts.freed_count;
  to.temporary_count += counts.temporary_count;
}

/// What has no counts left over is one moment's; threads that race, or got their record meanwhile, may leave
/// a little more freed than allocated.
template <typename SomeCounts>
void straighten(SomeCounts& counts) noexcept {
  if (counts.freed_bytes > counts.allocated_bytes) counts.freed_bytes = counts.allocated_bytes;
  if (counts.freed_count > counts.allocated_count) counts.freed_count = counts.allocated_count;
  if (counts.temporary_count > counts.freed_count) counts.temporary_count = counts.freed_count;
}

void raise_largest(ExactCounts& site, ExactCounts& all, std::uint64_t bytes) noexcept {
  if (bytes > site.largest_bytes) site.largest_bytes = bytes;
  if (bytes > all.largest_bytes) all.largest_bytes = bytes;
}

void raise_peak(ExactCounts& counts, std::int64_t peak) noexcept {
  if (peak > 0 && static_cast<std::uint64_t>(peak) > counts.peak_bytes)
    counts.peak_bytes = static_cast<std::uint64_t>(peak);
}

/// With what the threads have not yet added to the sites and the process.
void read_peaks(std::span<ExactCounts> by_site, ExactCounts& all) noexcept {
  const auto now = [](const std::atomic<std::int64_t>& value) {
    return value.load(std::memory_order_relaxed);
  };
  ExactCounts left_out{};
  const auto site_counts = [&](std::uint32_t site) -> ExactCounts& {
    return site < by_site.size() ? by_site[site] : left_out;
  };
  for (std::uint32_t i = 0; i < counted_sites_end(); ++i) {
    ExactCounts& site = site_counts(i);
    raise_peak(site, now(level_of(i).peak_bytes));
    raise_peak(site, static_cast<std::int64_t>(site.allocated_bytes - site.freed_bytes));
    site.at_peak_bytes = level_of(i).at_peak.read(process_peak().number(), now(level_of(i).live_bytes));
    raise_largest(site, all, get(level_of(i).largest_bytes));
  }
  const Level& process = process_level();
  raise_peak(all, now(process.peak_bytes));
  raise_peak(all, static_cast<std::int64_t>(all.allocated_bytes - all.freed_bytes));
  const std::uint32_t epoch = epoch_read();
  for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
    const ThreadRecord& record = thread_record_at(i);
    if (record.epoch.load(std::memory_order_acquire) != epoch) continue;
    raise_peak(all, now(process.live_bytes) + now(record.most));
    for (const SiteEntry& entry : record.sites) {
      const std::uint32_t site = entry.site.load(std::memory_order_relaxed);
      if (site == 0) continue;
      raise_peak(site_counts(site - 1), now(level_of(site - 1).live_bytes) + now(entry.most));
      raise_largest(site_counts(site - 1), all, get(entry.largest_bytes));
    }
  }
}

}  // namespace

ExactCounts exact_read(std::span<ExactCounts> by_site) noexcept {
  ExactCounts all{};
  for (ExactCounts& site : by_site) site = {};
  const std::uint32_t end = count_rows_end();
  Entries entries;
  for (std::uint32_t place = 0; place < kCountEntries; ++place) {
    entries.collect(place);
    for (std::uint32_t i = place ? place : kCountEntries; i < end; i += kCountEntries) {
      CountRow& row = count_row_at(i);
      const Counts counts = entries.read(row, i);
      add(all, counts);
      if (row.site < by_site.size()) add(by_site[row.site], counts);
    }
  }
  for (ExactCounts& site : by_site) straighten(site);
  straighten(all);
  read_peaks(by_site, all);
  return all;
}

Peak exact_peak() noexcept { return process_peak().read(); }

ExactTrouble exact_trouble() noexcept {
  ExactTrouble trouble{get(g_exact_odd.unknown_frees), get(g_exact_odd.missed_frees),
                       get(g_exact_odd.unbooked), 0};
  std::uint64_t threads = 0;
  for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
    const ThreadRecord& record = thread_record_at(i);
    if (record.epoch.load(std::memory_order_acquire) != epoch_read()) continue;
    trouble.unknown_frees += get(record.unknown_frees);
    ++threads;
  }
  if (threads > 1) trouble.unsure_peak_bytes = threads * kMostUnseenBytes;
  return trouble;
}

std::size_t exact_sizes(SiteId site, std::span<ExactSizes> sizes) noexcept {
  std::uint32_t rows[kRanges] = {};
  for (std::uint32_t i = first_count_row_of(site); i; i = count_row_at(i).next)
    rows[count_row_at(i).range] = i;
  std::size_t count = 0;
  Entries entries;
  for (RangeId range = 0; range < kRanges; ++range) {
    if (!rows[range]) continue;
    entries.collect(rows[range] % kCountEntries);
    Counts counts = entries.read(count_row_at(rows[range]), rows[range]);
    straighten(counts);
    if (counts.allocated_count == 0) continue;
    if (count < sizes.size())
      sizes[count] = {range_begin(range), range_end(range), counts.allocated_count,
                      counts.allocated_count - counts.freed_count};
    ++count;
  }
  return count;
}

void exact_for_each_live(std::uintptr_t begin, std::uintptr_t end,
                         void (*visit)(const ExactLive&, void* opaque), void* opaque) noexcept {
  struct To {
    void (*visit)(const ExactLive&, void*);
    void* opaque;
    std::uint32_t rows;
  } to{visit, opaque, count_rows_end()};
  shadow_for_each(
      begin, end,
      [](std::uint32_t row) { return row < count_rows_end() ? remainder_bits(count_row_at(row).range) : 0; },
      [](std::uintptr_t block, std::uint32_t index, std::uint64_t remainder, void* p) {
        const To& out = *static_cast<const To*>(p);
        if (index >= out.rows) return;  // made since
        const CountRow& row = count_row_at(index);
        out.visit({block, range_begin(row.range) + remainder, SiteId{row.site}}, out.opaque);
      },
      &to);
}

std::uint64_t exact_own_bytes() noexcept {
  return shadow_own_bytes() + counts_own_bytes() + path_counts_own_bytes() + thread_records_own_bytes();
}

}  // namespace mallard::record
