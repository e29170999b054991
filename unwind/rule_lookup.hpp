// SPDX-License-Identifier: Apache-2.0
// Rules as walks need them: from the table, and where it has none, from the object's unwind information.
#pragma once

#include <cstdint>

#include "base/attributes.hpp"
#include "unwind/rules.hpp"

namespace mallard::unwind {

/// Asks for the rule of an address that is not in the table, and stores it there.
/// \return false if libunwind is needed and this thread is inside of it already \context hot (slow path)
MALLARD_COLD bool ask_rule(std::uintptr_t code, std::uint16_t generation, Rule* rule) noexcept;

/// \return false if it is unknown and cannot be asked for now \context hot
inline bool rule_at(std::uintptr_t code, std::uint16_t generation, Rule* rule) noexcept {
  PackedRule packed;
  if (MALLARD_UNLIKELY(g_rules.find(code, generation, &packed) == RuleTable::kNone))
    return ask_rule(code, generation, rule);
  *rule = packed.rule();
  return true;
}

/// Without unwind information a frame pointer is believed if it is near, as libunwind does.
inline constexpr std::uintptr_t kNearFrameBytes = 0x4000;

inline std::uintptr_t offset(std::int32_t bytes) noexcept {
  return static_cast<std::uintptr_t>(static_cast<std::intptr_t>(bytes));
}

}  // namespace mallard::unwind
