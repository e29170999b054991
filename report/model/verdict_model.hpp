// SPDX-License-Identifier: Apache-2.0
// The verdict as plain data.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

enum class VerdictCause : std::uint8_t {
  kNone,  ///< nothing unusual dominates
  kLeak,  ///< live memory that grows from report to report
  kExternalFragmentation,
  kRetention,
  kLazilyFreed,
  kSecondAllocator,
  kMappedFiles,
  kStacks,
};

/// A figure of this report that the verdict stands on.
struct Evidence {
  std::string_view name;  ///< with its unit, as a JSON key: "holes_bytes"
  double value;
};

inline constexpr int kMaxEvidence = 12;
inline constexpr int kMaxVerdictSites = 3;

struct Verdict {
  VerdictCause cause = VerdictCause::kNone;
  std::string_view text;       ///< sentences
  std::string_view next_step;  ///< sentences; empty = none
  Evidence evidence[kMaxEvidence];
  int evidence_count = 0;
  std::uint32_t sites[kMaxVerdictSites];  ///< ids, the one to look at first
  int site_count = 0;
};

}  // namespace mallard::report
