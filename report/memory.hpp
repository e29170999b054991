// SPDX-License-Identifier: Apache-2.0
// Where the process's memory is, read from the kernel and the allocator, and made into a ledger. Context:
// reporter.
#pragma once

#include <cstdint>

#include "base/arena.hpp"
#include "report/facts/regions.hpp"
#include "report/facts/residency.hpp"
#include "report/facts/sampled_sites.hpp"
#include "report/model/model.hpp"
#include "report/reporter.hpp"

namespace mallard::report {

/// The kernel's view, of one moment as nearly as it can be had.
struct Memory {
  const ProcessMemory* process = nullptr;
  bool known = false;
  const char* why_not = nullptr;
  Regions regions{};
  Residency residency;
  Rss before{}, after{};  ///< around the scan
  int looks = 0;          ///< how often the page tables were read, because the host's memory moved
  std::uint64_t scan_ns = 0;
};

void read_memory(Arena& arena, const ProcessMemory& process, const Served& served, Memory* out) noexcept;

/// Asks the allocator which memory is in use, charges it to the sites of `books`, and writes the ledger.
/// Of exact books fills in the shares, in `exact` how much of the books was met, and what is older than they.
void account(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& books,
             ExactRecording* exact, BeforeRecording* before, Ledger* out) noexcept;

}  // namespace mallard::report
