// SPDX-License-Identifier: Apache-2.0
// Which pages other processes map, too. Context: reporter.
#pragma once

#include "report/facts/regions.hpp"

namespace mallard::report {

/// Fills in Region::in_files and in_no_file from /proc/PID/pagemap, which tells of each page whether it is
/// mapped once only (bit 56). A page of a file that this process itself maps at two places counts in neither
/// figure: the kernel does not tell whether another process has it. Some kernels (from
/// Linux 6.15 on, as they were configured) say "mapped once" of a page in a large folio only if that is sure of all of it.
/// \param budget_ns  time of work after which the rest is not looked at
/// \param unreadable  set if there is no such file for us
/// \return nullptr, or why not all pages in memory were looked at: one clause
const char* find_sharing(Arena& arena, const ProcessMemory& process, const Residency& residency,
                         std::uint64_t budget_ns, Regions* regions, bool* unreadable) noexcept;

}  // namespace mallard::report
