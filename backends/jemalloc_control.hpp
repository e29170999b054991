// SPDX-License-Identifier: Apache-2.0
// What jemalloc tells and does through mallctl, for the one linked in and for one that was loaded.
#pragma once

#include "backends/backend.hpp"
#include "heaps/jemalloc.hpp"

namespace mallard::backends {

using heaps::Mallctl;

/// Writes jemalloc's own statistics to `to`. \return how many \context reporter
inline int jemalloc_statistics(Mallctl* mallctl, Statistic* to) noexcept {
  std::uint64_t epoch = 1;
  std::size_t size = sizeof epoch;
  mallctl("epoch", &epoch, &size, &epoch, size);  // refreshes the figures below
  static constexpr const char* kNames[] = {"allocated", "active", "metadata",
                                           "resident",  "mapped", "retained"};
  int n = 0;
  for (const char* name : kNames) {
    FixedText<32> control;
    control.add("stats.").add(view_of(name));
    std::size_t bytes;
    size = sizeof bytes;
    if (mallctl(control.c_str(), &bytes, &size, nullptr, 0) == 0) to[n++] = {name, static_cast<std::int64_t>(bytes)};
  }
  return n;
}

/// Purges every arena, as malloc_trim promises. \return 1 = memory may have gone back
inline int jemalloc_trim(Mallctl* mallctl) noexcept {
  return mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0) == 0;  // MALLCTL_ARENAS_ALL
}

inline constexpr const char* kJemallocPurgeCall = "arena.4096.purge";
inline constexpr const char* kJemallocPurgeLeaves =
    "free blocks in the caches of other threads keep their slabs";
inline constexpr const char* kJemallocPurgeHolds =
    "threads that ask an arena for new pages wait while the kernel takes its free ones";

}  // namespace mallard::backends
