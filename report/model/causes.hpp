// SPDX-License-Identifier: Apache-2.0
// Why memory is resident: the lines of the ledger, with the words that the library, the command and the HTML
// page share. Every resident page has exactly one cause; pages that live blocks share with free memory are
// divided among the first three.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

enum class Cause : std::uint8_t {
#define CAUSE(enumerator, name, words, meaning, kind) enumerator,
#include "report/model/causes.def"
#undef CAUSE
};

enum class CauseKind : std::uint8_t {
  kDivided,  ///< a part of the heap that only an allocator which can be asked tells; may be an estimate
  kHeap,     ///< counted, and the heap's all the same
  kOwners,   ///< outside the heap; the report names the largest owners
  kOther,
};

struct CauseFacts {
  std::string_view name, words, meaning;
  CauseKind kind;

  bool is_heap() const noexcept { return kind == CauseKind::kDivided || kind == CauseKind::kHeap; }
};

/// Indexed by Cause.
inline constexpr CauseFacts kCauses[] = {
#define CAUSE(enumerator, name, words, meaning, kind) {name, words, meaning, CauseKind::kind},
#include "report/model/causes.def"
#undef CAUSE
};
inline constexpr int kCauseCount = sizeof kCauses / sizeof kCauses[0];

/// The meaning of live bytes where nothing is recorded that would tell what was asked for.
inline constexpr std::string_view kRoundingIncluded = "not freed, rounding included";

constexpr const CauseFacts& facts_of(Cause cause) noexcept { return kCauses[static_cast<int>(cause)]; }

/// \return nullptr where there is no such cause, as for one of a later version
constexpr const CauseFacts* find_cause(std::string_view name) noexcept {
  for (const CauseFacts& cause : kCauses)
    if (cause.name == name) return &cause;
  return nullptr;
}

/// How text calls a cause that a report names; the name itself where it is of a later version.
constexpr std::string_view words_of_cause(std::string_view name) noexcept {
  const CauseFacts* cause = find_cause(name);
  return cause ? cause->words : name;
}

}  // namespace mallard::report
