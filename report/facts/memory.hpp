// SPDX-License-Identifier: Apache-2.0
// Where the process's memory is, as the kernel tells. Context: reporter.
#pragma once

#include <cstdint>

#include "base/arena.hpp"
#include "report/facts/page_use.hpp"
#include "report/facts/regions.hpp"
#include "report/facts/residency.hpp"
#include "report/model/model.hpp"
#include "report/model/served.hpp"

namespace mallard::report {

/// The kernel's view, of one moment as nearly as it can be had.
struct Memory {
  const ProcessMemory* process = nullptr;
  bool known = false;
  const char* why_not = nullptr;
  Regions regions{};
  Residency residency;
  PageUse use;
  Rss before{}, after{};  ///< around the scan
  int looks = 0;          ///< how often the page tables were read, because the host's memory moved
  std::uint64_t scan_ns = 0;
};

/// Reads the kernel's view, a few times if it moves meanwhile; `Memory::why_not` says what failed. \context
/// reporter
void read_memory(Arena& arena, const ProcessMemory& process, const Served& served, Memory* out) noexcept;

}  // namespace mallard::report
