// SPDX-License-Identifier: Apache-2.0
#include "cli/top/exact_counts.hpp"

#include <algorithm>
#include <cstring>

namespace mallard::cli {
namespace {

constexpr std::uint32_t kMostRows = 1u << 22, kMostThreads = 1u << 16, kMostEntries = 1u << 16;
constexpr std::uint32_t kLongestRecord = 1u << 26;
constexpr int kTries = 4;

template <typename T>
T at(const std::vector<char>& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool is_sound(const Published& p) {
  const Published::CountRows& c = p.count_rows;
  const Published::Threads& t = p.threads;
  return c.rows && t.rows && c.stride <= kLongestRow && t.entry_stride <= kLongestRow && t.entries > 0 &&
         t.entries <= kMostEntries && t.stride <= kLongestRecord && fits(c.at_site, 4, c.stride) &&
         fits(c.at_counts, sizeof(ExactCount), c.stride) && fits(t.at_version, 4, t.entry_stride) &&
         fits(t.at_row, 4, t.entry_stride) && fits(t.at_counts, sizeof(ExactCount), t.entry_stride) &&
         fits(t.at_epoch, 4, t.stride) &&
         fits(t.at_entries, std::uint64_t{t.entries} * t.entry_stride, t.stride);
}

void add(const ExactCount& from, ExactCount* to) {
  to->allocated_bytes += from.allocated_bytes;
  to->allocated_count += from.allocated_count;
  to->freed_bytes += from.freed_bytes;
  to->freed_count += from.freed_count;
}

/// One reading: rows, then the threads' entries, then the rows again. Where a row is the same before and
/// after, and no entry at its place was on the move, what was read is of one moment.
class Reading {
 public:
  Reading(const MemoryFile& memory, const Published& published)
      : memory_(memory), c_(published.count_rows), t_(published.threads) {}

  bool run(std::uint32_t epoch) {
    std::uint32_t count = 0;
    if (!memory_.read(c_.count_at, &count) || count > kMostRows) return false;
    before_.resize(std::size_t{count} * c_.stride);
    after_.resize(before_.size());
    own_.assign(count, {});
    moves_.assign(t_.entries, false);
    return memory_.read(c_.rows, before_.data(), before_.size()) && read_threads(epoch) &&
           memory_.read(c_.rows, after_.data(), after_.size());
  }

  std::uint32_t count() const { return static_cast<std::uint32_t>(own_.size()); }
  std::uint32_t site_of(std::uint32_t row) const {
    return at<std::uint32_t>(after_, std::size_t{row} * c_.stride + c_.at_site);
  }
  bool is_sure(std::uint32_t row) const {
    return !moves_[row % t_.entries] && counts_in(before_, row) == counts_in(after_, row);
  }
  ExactCount counts_of(std::uint32_t row) const {
    ExactCount sum = counts_in(before_, row);
    add(own_[row], &sum);
    return sum;
  }

 private:
  ExactCount counts_in(const std::vector<char>& rows, std::uint32_t row) const {
    return at<ExactCount>(rows, std::size_t{row} * c_.stride + c_.at_counts);
  }

  bool read_threads(std::uint32_t epoch) {
    std::uint32_t threads = 0;
    if (!memory_.read(t_.count_at, &threads) || threads > kMostThreads) return false;
    std::vector<char> entries(std::size_t{t_.entries} * t_.entry_stride);
    for (std::uint32_t i = 0; i < threads; ++i) {
      const std::uint64_t record = t_.rows + std::uint64_t{i} * t_.stride;
      std::uint32_t its_epoch = 0;
      if (!memory_.read(record + t_.at_epoch, &its_epoch)) return false;
      if (its_epoch != epoch) continue;
      if (!memory_.read(record + t_.at_entries, entries.data(), entries.size())) return false;
      for (std::uint32_t place = 0; place < t_.entries; ++place) {
        const std::size_t entry = std::size_t{place} * t_.entry_stride;
        const auto row = at<std::uint32_t>(entries, entry + t_.at_row);
        if (at<std::uint32_t>(entries, entry + t_.at_version) & 1) moves_[place] = true;
        // A row that was made since counts the next time.
        if (row != 0 && row < own_.size()) add(at<ExactCount>(entries, entry + t_.at_counts), &own_[row]);
      }
    }
    return true;
  }

  const MemoryFile& memory_;
  const Published::CountRows& c_;
  const Published::Threads& t_;
  std::vector<char> before_, after_;
  std::vector<ExactCount> own_;  ///< the threads', by row
  std::vector<bool> moves_;      ///< by place in the threads' entries
};

}  // namespace

bool read_exact_counts(const MemoryFile& memory, const Published& published, ExactCounts* out) {
  *out = {};
  if (!is_sound(published) || !memory.read(published.threads.epoch_at, &out->epoch)) return false;
  if (out->epoch % 2 == 0) return false;
  std::vector<ExactCount> rows;
  std::vector<bool> known;
  Reading reading(memory, published);
  for (int i = 0; i < kTries; ++i) {
    if (!reading.run(out->epoch)) return false;
    if (i == 0) {
      rows.resize(reading.count());
      known.resize(reading.count());
    }
    out->unsure = 0;
    for (std::uint32_t row = 1; row < rows.size() && row < reading.count(); ++row) {
      if (known[row]) continue;
      rows[row] = reading.counts_of(row);
      known[row] = reading.is_sure(row);
      out->unsure += !known[row];
    }
    if (out->unsure == 0) break;
  }
  for (std::uint32_t row = 1; row < rows.size() && row < reading.count(); ++row) {
    const std::uint32_t site = reading.site_of(row);
    if (site >= kMostSites) return false;
    if (out->by_site.size() <= site) out->by_site.resize(site + 1);
    add(rows[row], &out->by_site[site]);
  }
  // Threads that count meanwhile may leave a little more freed than allocated.
  for (ExactCount& c : out->by_site) {
    c.freed_bytes = std::min(c.freed_bytes, c.allocated_bytes);
    c.freed_count = std::min(c.freed_count, c.allocated_count);
  }
  return true;
}

}  // namespace mallard::cli
