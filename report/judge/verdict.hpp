// SPDX-License-Identifier: Apache-2.0
// Why the process is as large as it is, in one word and a few sentences. docs/verdicts.md gives the reason
// for every threshold; the rules themselves are the table in verdict_causes.cpp. Pure functions of a snapshot.
#pragma once

#include "base/arena.hpp"
#include "report/model/largest.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Below this much memory, files of code and mallard's own left out, no process is alarmed about.
inline constexpr double kSmallProcessBytes = 32 << 20;
/// A cause is named from this size and this share of the same memory on. Estimates count with the low end of
/// their 95 % interval.
inline constexpr double kLeastCauseBytes = 16 << 20;
inline constexpr double kLeastCauseShare = 0.30;
/// Allocators keep free pages by design, jemalloc those of the last 10 s: a third of a busy heap is usual.
inline constexpr double kLeastRetentionShare = 0.40;
/// Growth is called so if it is this many standard errors from none: one false call in 2,000 sites.
inline constexpr double kGrowthErrors = 3.29;
/// With exact books every byte more is growth beyond error: a site grows if it grew by this much, and by this
/// share of what it held.
inline constexpr double kLeastExactGrowthBytes = 64 << 10, kLeastExactGrowthShare = 0.10;
/// Growing sites are a leak if together they grew by this share of the memory since the first report, and go
/// on growing: their growth since the last report is not surely below this share of its former pace.
inline constexpr double kLeastLeakShare = 0.10;
inline constexpr double kLeastPace = 0.25;
/// With one report alone, a site whose live blocks were born evenly over such a long time, hardly any of them
/// freed.
inline constexpr std::uint64_t kLongRecordingNs = 600'000'000'000;
inline constexpr double kLeastBornInPeriod = 0.10;  ///< of the site's live bytes, in each quarter
inline constexpr double kLeastKept = 0.80;          ///< of what the site ever allocated
inline constexpr std::uint64_t kLeastBirths = 40;   ///< live samples
/// Blocks of this mean size are called chunks of an arena.
inline constexpr double kChunkBytes = 16 << 10;

/// What the rules look at, taken together from a snapshot.
struct Facts {
  double memory;  ///< RSS less mallard's own and the files of code
  double live, rounding, past, holes, retained, lazily_freed, anonymous, files, shared, stacks, undivided;
  double file_copies;  ///< private pages of files other than code
  double static_data;  ///< those of code: .data and .bss
  double
      growing;    ///< live bytes of the growing sites: all of a site's if it was born evenly, else its growth
  double growth;  ///< by how much they grew since the first report
  bool long_leak;                                          ///< told from births alone
  Largest<std::uint32_t, kMaxVerdictSites> growing_sites;  ///< indices of rows, by their growth
};

Facts gather_facts(const Snapshot& snapshot) noexcept;

/// True if a mapped file is the executable or a shared object, by its name: libx.so, libx.so.6.
bool is_code(std::string_view path, const ProcessFacts& process) noexcept;

/// True if the site's live bytes have grown since the first report, beyond their error, and go on growing.
bool grows(const SiteRow& row, const Snapshot& snapshot) noexcept;
/// True if the site's live blocks were born evenly over the recording and hardly any of them was freed.
bool is_born_evenly(const SiteRow& row) noexcept;
/// True if the births of the site's live blocks alone show steady growth, over a long time.
bool grows_by_births(const SiteRow& row, const Snapshot& snapshot) noexcept;

/// Fills snapshot->verdict; its text lives in the arena. After run_probe and compare_and_remember. \context
/// reporter
void judge(Arena& arena, Snapshot* snapshot) noexcept;

/// The sentences; verdict_words.cpp.
void explain(Arena& arena, const Snapshot& snapshot, const Facts& facts, Verdict* verdict) noexcept;

/// The cause for people, or why none is told.
std::string_view verdict_title(const Snapshot& snapshot, const Facts& facts) noexcept;

}  // namespace mallard::report
