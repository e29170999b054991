// SPDX-License-Identifier: Apache-2.0
// The verdict as plain data, and the table of all verdicts, which the library and the command share.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

enum class VerdictCause : std::uint8_t {
#define VERDICT(enumerator, name, words, needs) enumerator,
#include "report/model/verdicts.def"
#undef VERDICT
};

enum class VerdictNeeds : std::uint8_t { kLedger, kDividedHeap, kCallSites };

struct VerdictFacts {
  VerdictCause cause;
  std::string_view name, words;
  VerdictNeeds needs;
};

/// Indexed by VerdictCause.
inline constexpr VerdictFacts kVerdicts[] = {
#define VERDICT(enumerator, name, words, needs) {VerdictCause::enumerator, name, words, VerdictNeeds::needs},
#include "report/model/verdicts.def"
#undef VERDICT
};

constexpr const VerdictFacts& facts_of(VerdictCause cause) noexcept {
  return kVerdicts[static_cast<int>(cause)];
}

/// \return nullptr where there is no such verdict, as for one of a later version
constexpr const VerdictFacts* find_verdict(std::string_view name) noexcept {
  for (const VerdictFacts& verdict : kVerdicts)
    if (verdict.name == name) return &verdict;
  return nullptr;
}

/// A figure of this report that the verdict stands on.
struct Evidence {
  std::string_view name;  ///< with its unit, as a JSON key: "holes_bytes"
  double value;
};

inline constexpr int kMaxEvidence = 12;
inline constexpr int kMaxVerdictSites = 3;

struct Verdict {
  VerdictCause cause = VerdictCause::kNone;
  std::string_view title;      ///< the cause for people, or why none is told
  std::string_view text;       ///< sentences
  std::string_view next_step;  ///< sentences; empty = none
  Evidence evidence[kMaxEvidence];
  int evidence_count = 0;
  std::uint32_t sites[kMaxVerdictSites];  ///< ids, the one to look at first
  int site_count = 0;
};

}  // namespace mallard::report
