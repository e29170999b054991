// SPDX-License-Identifier: Apache-2.0
// The checks that a report makes of its own figures: what is held against what, and what came of it. A new
// check is a row of checks.def and whatever fills it in (report/judge/checks.cpp).
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

enum class CheckKind : std::uint8_t {
#define SELF_CHECK(enumerator, ...) enumerator,
#include "report/model/checks.def"
#undef SELF_CHECK
};

enum class CheckUnit : std::uint8_t { kBytes, kSamples };
/// As in JSON, indexed by CheckUnit.
inline constexpr std::string_view kCheckUnits[] = {"bytes", "samples"};

enum class CheckRelation : std::uint8_t { kEqual, kAtMost, kAtLeast };
/// As in JSON, indexed by CheckRelation.
inline constexpr std::string_view kCheckRelations[] = {"equal", "at most", "at least"};

struct CheckFacts {
  std::string_view name, ours, theirs;
  CheckUnit unit;
  CheckRelation relation;
  double share, slack;
  std::string_view reason;
};

/// Indexed by CheckKind.
inline constexpr CheckFacts kChecks[] = {
#define SELF_CHECK(enumerator, name, ours, theirs, unit, relation, share, slack, reason) \
  {name, ours, theirs, CheckUnit::unit, CheckRelation::relation, share, slack, reason},
#include "report/model/checks.def"
#undef SELF_CHECK
};
inline constexpr int kCheckCount = sizeof kChecks / sizeof kChecks[0];

constexpr const CheckFacts& facts_of(CheckKind check) noexcept { return kChecks[static_cast<int>(check)]; }

enum class CheckState : std::uint8_t {
  kNotMade,  ///< a figure is not known; Check::why_not says which
  kHeld,
  kFailed,
};
/// As in JSON, indexed by CheckState.
inline constexpr std::string_view kCheckStates[] = {"not made", "held", "failed"};

struct Check {
  CheckState state = CheckState::kNotMade;
  double ours = 0, theirs = 0;
  double tolerance = 0;  ///< so far apart they may be
  std::string_view why_not;  ///< of kNotMade, one clause
};

}  // namespace mallard::report
