// SPDX-License-Identifier: Apache-2.0
// What jemalloc tells and does through mallctl, for the one linked in and for one that was loaded.
#pragma once

#include "backends/backend.hpp"

namespace mallard::backends {

using Mallctl = int(const char* name, void* old, std::size_t* old_bytes, void* fresh,
                    std::size_t fresh_bytes);

/// \context reporter
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
    if (mallctl(control.c_str(), &bytes, &size, nullptr, 0) == 0) to[n++] = {name, bytes};
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

/// What a census needs of a jemalloc.
struct JemallocAccess {
  Mallctl* mallctl;
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
  AddressRange data;    ///< its global variables, which hold the root of its page map
  bool arenas_can_end;  ///< the program can destroy arenas, and unmaps their books then
};
/// \context reporter
CensusResult jemalloc_census(const JemallocAccess& access, const CensusRequest& request) noexcept;

}  // namespace mallard::backends
