// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace mallard::report {

/// How residency was read; later ones are worse.
enum class ResidencyMethod : std::uint8_t {
  kPagemapScan,  ///< PAGEMAP_SCAN, Linux 6.7: zero pages told apart
  kPagemap,      ///< /proc/self/pagemap: zero pages count as present
  /// /proc/self/smaps for each mapping as a whole, mincore for the pages of private anonymous memory: where a
  /// process that has dropped its privileges is refused its page tables.
  kSmaps,
  kMincore,  ///< also counts the page cache under file mappings
  kNone,
};

}  // namespace mallard::report
