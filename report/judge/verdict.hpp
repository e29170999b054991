// SPDX-License-Identifier: Apache-2.0
// Why the process is as large as it is: findings, each with a few sentences. docs/verdicts.md gives the
// reason for every threshold; the rules themselves are the table in verdict.cpp. Pure functions of a
// snapshot.
#pragma once

#include "base/arena.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Below this much memory no process is alarmed about.
inline constexpr double kSmallProcessBytes = 32 << 20;
/// A cause is named from this size on. Estimates count with the low end of their 95 % interval.
inline constexpr double kLeastCauseBytes = 16 << 20;
/// A cause outside the heap is named from this share of the program's memory on.
inline constexpr double kLeastCauseShare = 0.30;
/// A part of the heap is named from this share of the heap on, if it is so much of the program's memory.
inline constexpr double kLeastHeapShare = 0.30, kLeastShareOfAll = 0.10;
/// Allocators keep free pages by design, jemalloc those of the last 10 s: a third of a busy heap is usual.
inline constexpr double kLeastRetentionShare = 0.40;
/// A second allocator that is known by name is named from this share of the program's memory on.
inline constexpr double kLeastAllocatorShare = 0.20;
/// Growth (trend.hpp) is named from this size and this share of the program's memory on.
inline constexpr double kLeastGrowthFinding = 8 << 20, kLeastGrowthShareOfAll = 0.02;
/// With one report alone, a site whose live blocks were born evenly over such a long time, hardly any of them
/// freed.
inline constexpr std::uint64_t kLongRecordingNs = 600'000'000'000;
inline constexpr double kLeastBornInPeriod = 0.10;  ///< of the site's live bytes, in each quarter
inline constexpr double kLeastKept = 0.80;          ///< of what the site ever allocated
inline constexpr std::uint64_t kLeastBirths = 40;   ///< live samples
/// Blocks of this mean size are called large: arenas take such, and programs such buffers.
inline constexpr double kChunkBytes = 16 << 10;

/// What the rules look at, taken together from a snapshot.
struct Facts {
  /// What the program can do something about, and the kernel cannot take by itself: RSS less mallard's own,
  /// pages of mapped files, private data of code and lazily freed memory.
  double memory;
  double heap;         ///< of it, the allocator's that serves
  double data_copies;  ///< of it, private copies of pages of files other than code
  double data_files;   ///< pages of mapped files other than code
};

Facts gather_facts(const Snapshot& snapshot) noexcept;

/// True if a mapped file is the executable or a shared object, by its name: libx.so, libx.so.6.
bool is_code(std::string_view path, const ProcessFacts& process) noexcept;

/// True if the site's live blocks were born evenly over the recording and hardly any of them was freed.
bool is_born_evenly(const SiteRow& row) noexcept;

/// Fills snapshot->findings, verdict and growth_text; texts live in the arena. After run_probe and
/// compare_and_remember. \context reporter
void judge(Arena& arena, Snapshot* snapshot) noexcept;

}  // namespace mallard::report
