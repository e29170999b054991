// SPDX-License-Identifier: Apache-2.0
#include "record/rules.hpp"

namespace mallard::record {

static_assert(PackedRule({RuleKind::kFromFrameSlot, true, -8, -16}, 65535).rule().cfa_offset == -8);
static_assert(PackedRule({RuleKind::kFromSp, true, 1 << 20, -16}, 7).rule().frame_offset == -16);
static_assert(PackedRule({RuleKind::kFromSp, true, 12, 0}, 7).rule().kind == RuleKind::kLibunwind);

constinit RuleTable g_rules;

std::uint32_t RuleTable::find(std::uintptr_t code, std::uint16_t generation, PackedRule* out) const noexcept {
  for (std::size_t i = slot_of(code), end = i + kProbes; i != end; ++i) {
    const Entry& entry = entries_[i % kEntries];
    const std::uintptr_t present = entry.code.load(std::memory_order_acquire);
    if (present == 0) return kNone;
    if (MALLARD_UNLIKELY(present != code)) continue;
    *out = PackedRule(entry.rule.load(std::memory_order_acquire));
    return MALLARD_LIKELY(out->holds_in(generation)) ? static_cast<std::uint32_t>(i % kEntries) : kNone;
  }
  return kNone;
}

std::uint32_t RuleTable::entry_of(std::uintptr_t code, bool make) noexcept {
  for (std::size_t i = slot_of(code), end = i + kProbes; i != end; ++i) {
    Entry& entry = entries_[i % kEntries];
    std::uintptr_t present = entry.code.load(std::memory_order_acquire);
    if (present == 0 && !make) return kNone;
    if (present == 0 && entry.code.compare_exchange_strong(present, code)) present = code;
    if (present == code) return static_cast<std::uint32_t>(i % kEntries);
  }
  return kNone;
}

std::uint32_t RuleTable::put(std::uintptr_t code, std::uint16_t generation, Rule rule) noexcept {
  const std::uint32_t entry = entry_of(code, true);
  // Two threads may store for one address; a rule of an older generation is merely asked for again.
  if (entry != kNone)
    entries_[entry].rule.store(PackedRule(rule, generation).bits(), std::memory_order_release);
  return entry;
}

void RuleTable::expire_all() noexcept {
  std::uint16_t now = generation_.load(std::memory_order_relaxed), next;
  do next = static_cast<std::uint16_t>(now + 1);
  while (!generation_.compare_exchange_weak(now, next, std::memory_order_acq_rel));
}

}  // namespace mallard::record
