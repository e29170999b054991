// SPDX-License-Identifier: Apache-2.0
#include "record/exact/adopt_counts.hpp"

#include "base/os.hpp"
#include "record/exact/counts.hpp"
#include "record/exact/thread_record.hpp"

namespace mallard::record {
namespace {

constexpr int kTries = 4;

Counts counts_in(const CountRow& row) noexcept {
  const auto get = [](const std::atomic<std::uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  return {get(row.allocated_bytes), get(row.allocated_count), get(row.freed_bytes), get(row.freed_count),
          get(row.temporary_count)};
}

bool equal(const Counts& a, const Counts& b) noexcept {
  return a.allocated_bytes == b.allocated_bytes && a.allocated_count == b.allocated_count &&
         a.freed_bytes == b.freed_bytes && a.freed_count == b.freed_count &&
         a.temporary_count == b.temporary_count;
}

void add(const Counts& from, Counts* to) noexcept {
  to->allocated_bytes += from.allocated_bytes;
  to->allocated_count += from.allocated_count;
  to->freed_bytes += from.freed_bytes;
  to->freed_count += from.freed_count;
  to->temporary_count += from.temporary_count;
}

/// What is found out about a row.
struct Found {
  Counts before, own, sum;
  bool is_sure;
};

/// Rows, then the threads' entries, then the rows again. Where a row is the same before and after, and no
/// entry at its place was on the move, what was read is of one moment.
class Reading {
 public:
  explicit Reading(const OtherParts& parts) noexcept : parts_(parts) {}
  ~Reading() {
    if (rows_) os::unmap(rows_, bytes_);
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  bool run(std::uint64_t* unsure) noexcept {
    if (!counts_adopt(parts_)) return false;
    count_ = count_rows_end();
    bytes_ = (count_ + 1) * sizeof(Found);
    rows_ = static_cast<Found*>(os::map_sparse(bytes_));
    if (!rows_) return false;
    for (int i = 0; i < kTries; ++i) {
      if (i > 0 && !counts_adopt_again(parts_)) return false;
      for (std::uint32_t row = 1; row < count_; ++row) {
        rows_[row].before = counts_in(count_row_at(row));
        rows_[row].own = {};
      }
      if (!thread_records_adopt(parts_)) return false;
      add_entries();
      if (!counts_adopt_again(parts_)) return false;
      *unsure = sum_up();
      if (*unsure == 0) break;
    }
    put_into_rows();
    return true;
  }

 private:
  /// Adds the threads' entries to their rows, and empties them.
  void add_entries() noexcept {
    for (bool& moves : moves_) moves = false;
    const std::uint32_t epoch = g_exact_epoch.load(std::memory_order_relaxed);
    const std::uint32_t current = epoch & 1 ? epoch : epoch - 1;  // as the books are read inside
    for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
      ThreadRecord& record = thread_record_at(i);
      if (record.epoch.load(std::memory_order_relaxed) != current) continue;
      for (std::uint32_t place = 0; place < kCountEntries; ++place) {
        CountEntry& entry = record.counts[place];
        if (entry.version.load(std::memory_order_relaxed) & 1) moves_[place] = true;
        const std::uint32_t row = entry.row.exchange(0, std::memory_order_relaxed);
        entry.version.store(0, std::memory_order_relaxed);
        if (row == 0 || row >= count_) continue;  // it was made since
        const auto get = [](const OwnCount& count) { return count.load(std::memory_order_relaxed); };
        add({get(entry.allocated_bytes), get(entry.allocated_count), get(entry.freed_bytes),
             get(entry.freed_count), get(entry.temporary_count)},
            &rows_[row].own);
      }
    }
  }

  /// \return how many rows are not of one moment
  std::uint64_t sum_up() noexcept {
    std::uint64_t unsure = 0;
    for (std::uint32_t row = 1; row < count_; ++row) {
      Found& found = rows_[row];
      if (found.is_sure) continue;
      found.is_sure = !moves_[row % kCountEntries] && equal(found.before, counts_in(count_row_at(row)));
      found.sum = found.before;
      add(found.own, &found.sum);
      unsure += !found.is_sure;
    }
    return unsure;
  }

  void put_into_rows() noexcept {
    for (std::uint32_t i = 1; i < count_; ++i) {
      CountRow& row = count_row_at(i);
      const Counts& sum = rows_[i].sum;
      row.allocated_bytes.store(sum.allocated_bytes, std::memory_order_relaxed);
      row.allocated_count.store(sum.allocated_count, std::memory_order_relaxed);
      row.freed_bytes.store(sum.freed_bytes, std::memory_order_relaxed);
      row.freed_count.store(sum.freed_count, std::memory_order_relaxed);
      row.temporary_count.store(sum.temporary_count, std::memory_order_relaxed);
    }
  }

  const OtherParts& parts_;
  std::uint32_t count_ = 0;
  std::size_t bytes_ = 0;
  Found* rows_ = nullptr;
  bool moves_[kCountEntries] = {};
};

}  // namespace

bool adopt_counts(const OtherParts& parts, std::uint64_t* unsure) noexcept {
  return Reading(parts).run(unsure);
}

}  // namespace mallard::record
