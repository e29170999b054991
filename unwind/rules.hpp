// SPDX-License-Identifier: Apache-2.0
// What unwinding means at one code address, in 8 bytes, and the table of all such rules that are known.
// The table is shared by all threads, append-only and bounded; lookups take no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"

namespace mallard::unwind {

enum class RuleKind : std::uint8_t {
  kUnset,          ///< never stored
  kFromSp,         ///< CFA = stack pointer + cfa_offset
  kFromFrame,      ///< CFA = frame pointer + cfa_offset
  kFromFrameSlot,  ///< CFA = *(frame pointer + cfa_offset): functions that realign their stack
  kSignal,         ///< the kernel's signal frame begins at sp
  kEnd,            ///< root of the thread
  kNoInfo,         ///< no unwind information: try the chain of frame pointers
  kLibunwind,      ///< none of these: only libunwind can tell
};

/// CFA: the stack pointer of the caller. Its return address lies at CFA + arch::kReturnOffset under every rule.
struct Rule {
  RuleKind kind = RuleKind::kUnset;
  bool saves_frame = false;       ///< whether the function saved its caller's frame pointer
  std::int32_t cfa_offset = 0;    ///< bytes
  std::int32_t frame_offset = 0;  ///< bytes from the CFA to where it is saved; for
                                  ///< kFromFrameSlot from the frame pointer
};

/// One machine word: kind 4 | saves_frame 1 | cfa words 23 | frame words 20 | generation 16.
class PackedRule {
 public:
  constexpr PackedRule() noexcept = default;
  constexpr explicit PackedRule(std::uint64_t bits) noexcept : bits_(bits) {}
  /// An offset that does not fit, or is no multiple of a word, makes it a kLibunwind rule.
  constexpr PackedRule(Rule rule, std::uint16_t generation) noexcept {
    if (!fits(rule.cfa_offset, kCfaBits) || !fits(rule.frame_offset, kFrameBits))
      rule = {RuleKind::kLibunwind};
    bits_ = static_cast<std::uint64_t>(rule.kind) | std::uint64_t{rule.saves_frame} << 4 |
            field(rule.cfa_offset, kCfaBits) << 5 | field(rule.frame_offset, kFrameBits) << 28 |
            std::uint64_t{generation} << 48;
  }

  constexpr std::uint64_t bits() const noexcept { return bits_; }
  constexpr std::uint16_t generation() const noexcept { return static_cast<std::uint16_t>(bits_ >> 48); }
  constexpr RuleKind kind() const noexcept { return static_cast<RuleKind>(bits_ & 15); }
  /// Whether a rule is stored here, under this generation.
  constexpr bool holds_in(std::uint16_t now) const noexcept {
    return generation() == now && kind() != RuleKind::kUnset;
  }
  /// kFromSp or kFromFrame, as nearly all are.
  constexpr bool is_plain() const noexcept { return (bits_ & 15) - 1 <= 1; }
  constexpr bool saves_frame() const noexcept { return (bits_ >> 4 & 1) != 0; }
  /// Offsets as what is added to an address.
  constexpr std::uintptr_t cfa_offset() const noexcept {
    return static_cast<std::uintptr_t>(static_cast<std::int64_t>(bits_ << 36) >> 41) * 8;
  }
  constexpr std::uintptr_t frame_offset() const noexcept {
    return static_cast<std::uintptr_t>(static_cast<std::int64_t>(bits_ << 16) >> 44) * 8;
  }
  constexpr Rule rule() const noexcept {
    return {kind(), saves_frame(), static_cast<std::int32_t>(cfa_offset()),
            static_cast<std::int32_t>(frame_offset())};
  }

 private:
  static constexpr int kCfaBits = 23, kFrameBits = 20;
  static constexpr bool fits(std::int32_t bytes, int bits) noexcept {
    const std::int32_t limit = 1 << (bits - 1);
    return bytes % 8 == 0 && bytes / 8 >= -limit && bytes / 8 < limit;
  }
  static constexpr std::uint64_t field(std::int32_t bytes, int bits) noexcept {
    return static_cast<std::uint64_t>(bytes / 8) & ((std::uint64_t{1} << bits) - 1);
  }

  std::uint64_t bits_ = 0;
};

class RuleTable {
 public:
  constexpr RuleTable() noexcept = default;

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr int kEntryBits = 17;

  /// \param code  an address within the instruction in question: for a return address, the byte before
  /// \return the entry's number, which never changes; kNone if no rule of the current generation is known
  /// \context hot
  std::uint32_t find(std::uintptr_t code, std::uint16_t generation, PackedRule* out) const noexcept;

  /// \return the entry's number; kNone if there is no room near the address's place \context hot (slow path)
  std::uint32_t put(std::uintptr_t code, std::uint16_t generation, Rule rule) noexcept;

  /// The entry of an address, whether its rule is known or not; makes one if `make`. \return kNone: none
  /// \context hot
  std::uint32_t entry_of(std::uintptr_t code, bool make) noexcept;
  /// The address of an entry that one of the above returned. \context hot
  std::uintptr_t code_at(std::uint32_t entry) const noexcept {
    return entries_[entry].code.load(std::memory_order_relaxed);
  }

  /// For readers outside of the process: rows, each of which begins with the code address.
  const void* rows() const noexcept { return entries_; }
  static constexpr std::uint32_t row_bytes() noexcept { return sizeof(Entry); }

  /// The generation of the rules that hold now. \context hot
  std::uint16_t generation() const noexcept {
    return generation_.load(std::memory_order_acquire);  // pairs with expire_all()
  }
  /// From now on every rule is asked for anew, once. \context any thread
  void expire_all() noexcept;

 private:
  /// To be told of each new generation, before any thread can be in it: forgets all rules well before a generation
  /// comes again. Twice as often as they do, for a rule that is stored while this runs.
  void prepare(std::uint16_t generation) noexcept;

  struct Entry {
    std::atomic<std::uintptr_t> code{0};  // set once, never changed
    std::atomic<std::uint64_t> rule{0};   // a PackedRule; kUnset until the first is stored
  };
  static constexpr std::size_t kEntries = std::size_t{1} << kEntryBits;

  // Lines of four entries in four levels, each larger than the one before: an address stands in its line of
  // the first, or, where that is full, of the next, or at last in one of the lines behind that of the fourth.
  // A shell touches one page, which its forks copy, a program of 600 addresses 68 KiB; in one
  // large table nearly each address would take a page of its own.
  static constexpr std::size_t kInLine = 4, kLevels = 4, kLinesTried = 11;
  static constexpr std::size_t kLevelBegin[kLevels + 1] = {0, 1 << 8, (1 << 8) + (1 << 12),
                                                           (1 << 8) + (1 << 12) + (1 << 14), kEntries};
  /// The first entry of the `n`th line to look into.
  static std::size_t line(std::uintptr_t code, std::size_t n) noexcept {
    const std::size_t level = n < kLevels ? n : kLevels - 1, begin = kLevelBegin[level];
    const std::size_t lines = (kLevelBegin[level + 1] - begin) / kInLine;
    const std::uint64_t hash = (code * 0x9e3779b97f4a7c15u) >> 32;
    return begin + ((hash * lines >> 32) + (n - level)) % lines * kInLine;
  }
  /// Calls `visit` with the entries that an address may have, in order, until it returns true.
  template <typename Visit>
  static void for_each_place(std::uintptr_t code, Visit visit) noexcept {
    for (std::size_t n = 0; n != kLinesTried; ++n)
      for (std::size_t i = 0, first = line(code, n); i != kInLine; ++i)
        if (visit(static_cast<std::uint32_t>(first + i))) return;
  }

  std::atomic<std::uint16_t> generation_{0};  // on the page of the first level
  alignas(64) Entry entries_[kEntries];       // 2 MiB, of which the kernel commits what is used
};

extern RuleTable g_rules;  ///< of this process

}  // namespace mallard::unwind
