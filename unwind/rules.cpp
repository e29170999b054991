// SPDX-License-Identifier: Apache-2.0
#include "unwind/rules.hpp"

#include "unwind/quick_rules.hpp"

namespace mallard::unwind {

static_assert(PackedRule({RuleKind::kFromFrameSlot, true, -8, -16}, 65535).rule().cfa_offset == -8);
static_assert(PackedRule({RuleKind::kFromSp, true, 1 << 20, -16}, 7).rule().frame_offset == -16);
static_assert(PackedRule({RuleKind::kFromSp, true, 12, 0}, 7).rule().kind == RuleKind::kLibunwind);

MALLARD_RULES_DATA constinit RuleTable g_rules;
constinit QuickRules g_quick_rules;

std::uint32_t RuleTable::find(std::uintptr_t code, std::uint16_t generation, PackedRule* out) const noexcept {
  std::uint32_t found = kNone;
  for_each_place(code, [&](std::uint32_t place) noexcept {
    const Entry& entry = entries_[place];
    const std::uintptr_t present = entry.code.load(std::memory_order_acquire);
    if (present != code) return present == 0;
    *out = PackedRule(entry.rule.load(std::memory_order_acquire));
    if (MALLARD_LIKELY(out->holds_in(generation))) found = place;
    return true;
  });
  return found;
}

std::uint32_t RuleTable::entry_of(std::uintptr_t code, bool make) noexcept {
  std::uint32_t found = kNone;
  for_each_place(code, [&](std::uint32_t place) noexcept {
    Entry& entry = entries_[place];
    std::uintptr_t present = entry.code.load(std::memory_order_acquire);
    if (present == 0 && !make) return true;
    if (present == 0 && entry.code.compare_exchange_strong(present, code)) present = code;
    if (present == code) found = place;
    return present == code;
  });
  return found;
}

std::uint32_t RuleTable::put(std::uintptr_t code, std::uint16_t generation, Rule rule) noexcept {
  const std::uint32_t entry = entry_of(code, true);
  // Two threads may store for one address; a rule of an older generation is merely asked for again.
  if (entry != kNone)
    entries_[entry].rule.store(PackedRule(rule, generation).bits(), std::memory_order_release);
  return entry;
}

void keep_quick_rule(std::uintptr_t code, PackedRule rule) noexcept {
  g_quick_rules.keep(code, QuickRules::generation_bits(rule.generation()), rule);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // A rule of a generation that is over may have missed the time at which it would have been forgotten.
  if (MALLARD_UNLIKELY(g_rules.generation() != rule.generation())) g_quick_rules.forget(code);
}

void RuleTable::prepare(std::uint16_t generation) noexcept {
  if (generation % (1u << 15) != 0) return;
  for (Entry& entry : entries_)
    if (entry.rule.load(std::memory_order_relaxed) != 0) entry.rule.store(0, std::memory_order_relaxed);
}

void RuleTable::expire_all() noexcept {
  std::uint16_t now = generation_.load(std::memory_order_relaxed), next;
  do {
    next = static_cast<std::uint16_t>(now + 1);
    g_quick_rules.prepare(next);
    prepare(next);
  } while (!generation_.compare_exchange_weak(now, next, std::memory_order_seq_cst));
}

}  // namespace mallard::unwind
