// SPDX-License-Identifier: Apache-2.0
// Small numbers for return addresses, so that a frame of a stack fits into some bits. Code of loaded objects
// has the number of its rule (rules.hpp), which every walk looks up anyway; generated code, and what finds no
// room there, has one of a second table. Shared, append-only, bounded; no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/parts.hpp"
#include "unwind/rules.hpp"

namespace mallard::unwind {

using PcIndex = std::uint32_t;
inline constexpr PcIndex kNoPc = ~PcIndex{0};
inline constexpr int kPcBits = RuleTable::kEntryBits + 1;

/// The number of a return address, given if it has none. \return kNoPc if both tables are full near its place
/// \context hot: any thread, signal handlers
PcIndex pc_index(std::uintptr_t pc) noexcept;
std::uintptr_t pc_at(PcIndex index) noexcept;     ///< of a number that pc_index() gave
std::uint64_t code_addresses_dropped() noexcept;  ///< how often an address found no room

/// Whether an address that pc_at() gave stands for a whole mapping of generated code. \context reporter
bool is_generated_mapping(std::uintptr_t pc) noexcept;

/// Changes whenever an address may have come to mean other code than before: what was learned of a stack
/// under one epoch must not be relied on under another. Never 0. \context hot
extern std::atomic<std::uint64_t> g_code_epoch;
inline std::uint64_t code_epoch() noexcept { return g_code_epoch.load(std::memory_order_acquire); }
void begin_code_epoch() noexcept;
/// An address outside of all loaded objects is met on a stack. \context hot
void note_generated_code(std::uintptr_t code) noexcept;
/// The host gives memory back: if it held generated code, the loader may put an object in its place.
/// \context hot
void on_memory_unmapped(std::uintptr_t begin, std::size_t bytes) noexcept;

/// Where the numbers' addresses lie, for readers outside of the process: of one below `rules` the address
/// less one stands at the beginning of its row, of one above in a word of `others`.
struct CodeAddressTables {
  const void *rule_rows, *others;
  std::uint32_t rules, rule_stride;
};
CodeAddressTables code_address_tables() noexcept;

/// Become copies of another process's, with its rules. \context offline
bool code_addresses_adopt(const OtherParts& parts) noexcept;

std::uint64_t
code_addresses_own_bytes() noexcept;  ///< what is in memory of the second table \context reporter

}  // namespace mallard::unwind
