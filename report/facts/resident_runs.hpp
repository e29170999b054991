// SPDX-License-Identifier: Apache-2.0
// Runs of resident pages while they are collected. Context: reporter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/facts/residency.hpp"

namespace mallard::report {

/// Collects runs in sequences of ascending addresses; neighbours are joined. What a sequence has gone past is
/// dropped: PAGEMAP_SCAN tells pages twice where they fill the kernel's own buffer, and huge pages from their
/// begin on.
class ResidentRuns {
 public:
  explicit ResidentRuns(Arena& arena) noexcept : runs_(arena) {}

  /// What comes next lies elsewhere, and overlaps nothing that came before.
  void begin_sequence() noexcept { sequence_ = runs_.size(); }

  /// \return false if memory is out
  bool add(std::uintptr_t begin, std::uintptr_t end, bool file, bool huge) noexcept {
    if (runs_.size() > sequence_) {
      ResidentRun& last = runs_[runs_.size() - 1];
      if (begin < last.end) begin = last.end;
      if (begin >= end) return true;
      if (begin == last.end && file == last.file && huge == last.huge) {
        last.end = end;
        bytes_ += end - begin;
        return true;
      }
    }
    bytes_ += end - begin;
    return runs_.add({begin, end, 0, file, huge});
  }

  /// Takes back the last `bytes` that were added.
  void drop_last(std::uint64_t bytes) noexcept {
    for (std::size_t i = runs_.size(); i-- > 0 && bytes > 0;) {
      ResidentRun& run = runs_[i];
      const std::uint64_t taken = std::min<std::uint64_t>(bytes, run.end - run.begin);
      run.end -= taken;
      bytes_ -= taken;
      bytes -= taken;
    }
  }

  std::uint64_t bytes() const noexcept { return bytes_; }

  /// \return all runs, ascending
  std::span<const ResidentRun> finish() noexcept {
    const std::span<ResidentRun> all = runs_.all();
    if (sequence_ > 0)
      std::sort(all.begin(), all.end(),
                [](const ResidentRun& a, const ResidentRun& b) { return a.begin < b.begin; });
    std::uint64_t before = 0;
    for (ResidentRun& run : all) {
      run.before = before;
      before += run.end - run.begin;
    }
    return all;
  }

 private:
  Growing<ResidentRun> runs_;
  std::uint64_t bytes_ = 0;
  std::size_t sequence_ = 0;  ///< the first run of the sequence
};

}  // namespace mallard::report
