// SPDX-License-Identifier: Apache-2.0
// The counts of exact mode, copied out of a running process and added up by call site, as
// record/exact/read.cpp does it inside.
#pragma once

#include <cstdint>
#include <vector>

#include "record/published.hpp"
#include "cli/process/memory_file.hpp"

namespace mallard::cli {

/// What another process says of its tables is not believed beyond these.
inline constexpr std::uint32_t kLongestRow = 4096, kMostSites = 1u << 22;
inline bool fits(std::uint64_t offset, std::uint64_t bytes, std::uint64_t room) { return offset + bytes <= room; }

struct ExactCount {
  std::uint64_t allocated_bytes = 0, allocated_count = 0, freed_bytes = 0, freed_count = 0;
  bool operator==(const ExactCount&) const = default;
};
static_assert(sizeof(ExactCount) == Published::kCounts * sizeof(std::uint64_t));

struct ExactCounts {
  std::uint32_t epoch = 0;          ///< another one: the books began anew
  std::vector<ExactCount> by_site;  ///< by site id
  /// Counts that moved from a thread to the table each time that they were read: they may be off by what that
  /// thread had, once.
  std::uint64_t unsure = 0;
};

/// \return false if exact mode is off, the process is gone, or the tables are not what they should be
bool read_exact_counts(const MemoryFile& memory, const Published& published, ExactCounts* out);

}  // namespace mallard::cli
