// SPDX-License-Identifier: Apache-2.0
// The plain rules of the addresses that were asked for last, eight to a cache line. The table of all rules
// (rules.hpp) takes a line for nearly each address, and a walk waits for one after the other: only the rule
// of a frame says where the next one's address stands. A cache: what is not here is looked up there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"
#include "unwind/rules.hpp"

namespace mallard::unwind {

/// How to go from a frame to its caller: CFA = stack or frame pointer + cfa_offset(); the frame
/// pointer was saved at CFA + frame_offset().
class QuickRule {
 public:
  static constexpr int kCfaBits = 14, kFrameBits = 8;

  constexpr QuickRule() noexcept = default;
  constexpr explicit QuickRule(std::uint64_t bits) noexcept : bits_(bits) {}

  /// Whether a rule has a place here, as those of nearly all functions have.
  static constexpr bool can_be(PackedRule rule) noexcept {
    const auto frame_words = static_cast<std::int64_t>(rule.frame_offset()) / 8;
    return rule.is_plain() && rule.cfa_offset() / 8 < std::uintptr_t{1} << kCfaBits && frame_words >= -128 &&
           frame_words < 128;
  }
  constexpr explicit QuickRule(PackedRule rule) noexcept
      : bits_(std::uint64_t{rule.kind() == RuleKind::kFromFrame} | std::uint64_t{rule.saves_frame()} << 1 |
              (rule.frame_offset() / 8 & 0xff) << 2 | rule.cfa_offset() / 8 << 10) {}

  constexpr std::uint64_t bits() const noexcept { return bits_; }
  constexpr bool from_frame() const noexcept { return (bits_ & 1) != 0; }
  constexpr bool saves_frame() const noexcept { return (bits_ & 2) != 0; }
  /// Offsets as what is added to an address.
  constexpr std::uintptr_t cfa_offset() const noexcept { return (bits_ >> 10) * 8; }
  constexpr std::uintptr_t frame_offset() const noexcept {
    return static_cast<std::uintptr_t>(std::int64_t{static_cast<std::int8_t>(bits_ >> 2)} * 8);
  }

 private:
  std::uint64_t bits_ = 0;
};

/// Direct-mapped, shared by all threads. A word holds all that is needed to know an address again: user
/// addresses have 47 bits, multiplying by an odd number modulo 2^48 loses none of them, and of the product 15
/// bits name the slot and 33 stand in the word.
class QuickRules {
 public:
  static constexpr int kSlotBits = 15, kRuleBits = 24, kGenerationBits = 7;
  static_assert(2 + QuickRule::kFrameBits + QuickRule::kCfaBits == kRuleBits);
  static_assert(48 - kSlotBits + kGenerationBits + kRuleBits == 64);

  /// Generations 2^16 apart have the same bits, so that those of the last one and of the first differ.
  static constexpr std::uint16_t kGenerations = 1 << (kGenerationBits - 1);
  /// What stands in a word for the generation of its rule; never 0, so that no empty word looks like one.
  static constexpr std::uint64_t generation_bits(std::uint16_t generation) noexcept {
    return std::uint64_t{generation % kGenerations + 1u} << kRuleBits;
  }

  /// \param code  as for RuleTable::find() \return false: not here \context hot
  [[gnu::always_inline]] inline bool find(std::uintptr_t code, std::uint64_t generation_bits,
                                          QuickRule* out) const noexcept {
    const std::uint64_t hash = hash_of(code);
    const std::uint64_t rest = words_[hash >> (64 - kSlotBits)].load(std::memory_order_relaxed) ^
                               (hash << kSlotBits | generation_bits);
    *out = QuickRule(rest);
    return MALLARD_LIKELY(rest >> kRuleBits == 0);
  }

  /// \param rule  one that can_be() here \context hot (slow path)
  void keep(std::uintptr_t code, std::uint64_t generation_bits, PackedRule rule) noexcept {
    const std::uint64_t hash = hash_of(code);
    words_[hash >> (64 - kSlotBits)].store(hash << kSlotBits | generation_bits | QuickRule(rule).bits(),
                                           std::memory_order_relaxed);
  }

  /// What was kept is not found any more. \context hot (slow path)
  void forget(std::uintptr_t code) noexcept {
    words_[hash_of(code) >> (64 - kSlotBits)].store(0, std::memory_order_relaxed);
  }

  /// To be told of each new generation, before any thread can be in it: forgets all well before bits come
  /// again. Twice as often as they do, for a rule that is kept while this runs. \context any thread
  void prepare(std::uint16_t generation) noexcept {
    if (generation % (kGenerations / 2) != 0) return;
    for (std::atomic<std::uint64_t>& word : words_)
      if (word.load(std::memory_order_relaxed) != 0) word.store(0, std::memory_order_relaxed);
  }

 private:
  /// The 48 bits of the product, at the top.
  static constexpr std::uint64_t hash_of(std::uintptr_t code) noexcept {
    return code * (std::uint64_t{0x9e3779b97f4b} << 16);
  }

  // 256 KiB, and nothing beside them that is not 0 at first: that would put all into the library's file.
  std::atomic<std::uint64_t> words_[std::size_t{1} << kSlotBits]{};
};

extern QuickRules g_quick_rules;  ///< of this process
/// Keeps a rule there under its own generation, unless that is over. \context hot (slow path)
void keep_quick_rule(std::uintptr_t code, PackedRule rule) noexcept;

}  // namespace mallard::unwind
