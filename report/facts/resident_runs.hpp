// SPDX-License-Identifier: Apache-2.0
// Runs of resident pages while they are collected. Context: reporter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/facts/residency.hpp"

namespace mallard::report {

/// Collects runs. Neighbours that come one after the other are joined; runs may come out of order, as long as
/// none overlaps one that was not the last.
class ResidentRuns {
 public:
  explicit ResidentRuns(Arena& arena) noexcept : runs_(arena) {}

  /// \return false if memory is out
  bool add(std::uintptr_t begin, std::uintptr_t end, bool file, bool huge) noexcept {
    if (runs_.size() > 0) {
      ResidentRun& last = runs_[runs_.size() - 1];
      if (begin < last.begin) {
        ascending_ = false;
      } else {
        if (begin < last.end) begin = last.end;  // a huge page that begins before the piece
        if (begin >= end) return true;
        if (begin == last.end && file == last.file && huge == last.huge) {
          last.end = end;
          bytes_ += end - begin;
          return true;
        }
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
    if (!ascending_)
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
  bool ascending_ = true;
};

}  // namespace mallard::report
