// SPDX-License-Identifier: Apache-2.0
// What a report finds, as plain data, and the table of all causes of findings, which the library and the
// command share. The first finding is the verdict.
#pragma once

#include <cstdint>
#include <string_view>

#include "report/model/estimate.hpp"

namespace mallard::report {

enum class VerdictCause : std::uint8_t {
#define VERDICT(enumerator, ...) enumerator,
#include "report/model/verdicts.def"
#undef VERDICT
};

enum class VerdictNeeds : std::uint8_t { kLedger, kDividedHeap, kCallSites };

/// A harmless finding is said, but comes after all others.
enum class VerdictWeight : std::uint8_t { kCounts, kHarmless };

struct VerdictFacts {
  VerdictCause cause;
  std::string_view name, words;
  VerdictNeeds needs;
  VerdictWeight weight;
};

/// Indexed by VerdictCause.
inline constexpr VerdictFacts kVerdicts[] = {
#define VERDICT(enumerator, name, words, needs, weight, find) \
  {VerdictCause::enumerator, name, words, VerdictNeeds::needs, VerdictWeight::weight},
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

/// How a finding's bytes are known.
enum class Confidence : std::uint8_t {
  kProved,     ///< the memory went when it was asked to
  kCounted,    ///< by the kernel's page tables, the allocator's own structures or exact mode
  kEstimated,  ///< from samples: the interval holds the truth in 95 % of reports
  kInferred,   ///< by a rule that errs at times (docs/verdicts.md says how often)
};
/// As in JSON, indexed by Confidence.
inline constexpr std::string_view kConfidences[] = {"proved", "counted", "estimated", "inferred"};

/// One cause of memory that is worth knowing. Findings do not overlap: they add up to at most RSS.
struct Finding {
  VerdictCause cause = VerdictCause::kNone;
  Confidence confidence = Confidence::kCounted;
  Estimate bytes;              ///< in memory
  std::string_view title;      ///< the cause for people, or why none is told
  std::string_view text;       ///< sentences
  std::string_view next_step;  ///< sentences; empty = none
  std::string_view owner;      ///< the allocator, module or file that it is about; empty = none
  Evidence evidence[kMaxEvidence];
  int evidence_count = 0;
  std::uint32_t sites[kMaxVerdictSites];  ///< ids, the one to look at first
  int site_count = 0;
};

/// The first finding; of cause kNone where there is none.
using Verdict = Finding;

}  // namespace mallard::report
