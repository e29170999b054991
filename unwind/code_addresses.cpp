// SPDX-License-Identifier: Apache-2.0
#include "unwind/code_addresses.hpp"

#include <algorithm>
#include <atomic>

#include "base/os.hpp"
#include "unwind/own_stack.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {
namespace {

constexpr std::uint32_t kOthers = 1u << RuleTable::kEntryBits, kProbes = 64;
MALLARD_LARGE_DATA constinit std::atomic<std::uintptr_t>
    g_others[kOthers]{};  // 1 MiB, of which the kernel commits what is used

// Between the lowest and the highest address of generated code that was ever met.
constinit std::atomic<std::uintptr_t> g_generated_low{~std::uintptr_t{0}}, g_generated_high{0};

/// Mappings of generated code that were met. All addresses of one count as one, as its functions come and go
/// and would fill every table. A mapping that is no more does no harm: where the loader puts an object in its
/// place, addresses are found there first.
struct GeneratedMapping {
  std::atomic<std::uintptr_t> begin, end;  ///< end 0: not there yet
};
constexpr std::uint32_t kMaxGeneratedMappings = 256;
constexpr std::uintptr_t kCoarse = std::uintptr_t{1} << 21;
constinit GeneratedMapping g_generated[kMaxGeneratedMappings]{};
constinit std::atomic<std::uint32_t> g_generated_count{0};

constinit std::atomic<std::uint64_t> g_dropped{0};
MALLARD_PART(rules, g_rules);
MALLARD_PART(other_addresses, g_others);
MALLARD_PART(generated, g_generated);
MALLARD_PART(generated_count, g_generated_count);
MALLARD_PART(addresses_dropped, g_dropped);

std::uint32_t generated_mappings() noexcept {
  return std::min(g_generated_count.load(std::memory_order_acquire), kMaxGeneratedMappings);
}

/// Searches that found no mapping: after so many an address that is new counts for itself at once.
constinit std::atomic<std::uint32_t> g_vain_searches{0};
constexpr std::uint32_t kMaxVainSearches = 64;

/// The address that stands for all return addresses of the mapping that holds `pc`: the first that can be
/// one. Where there are too many mappings, 2 MiB of address space count as one.
std::uintptr_t place_of_generated(std::uintptr_t pc) noexcept {
  const std::uint32_t count = generated_mappings();
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uintptr_t end = g_generated[i].end.load(std::memory_order_acquire);
    const std::uintptr_t begin = g_generated[i].begin.load(std::memory_order_relaxed);
    if (pc > begin && pc <= end) return begin + 1;
  }
  if (count == kMaxGeneratedMappings) return ((pc - 1) & ~(kCoarse - 1)) + 1;
  if (g_vain_searches.load(std::memory_order_relaxed) >= kMaxVainSearches) return pc;
  std::uintptr_t begin, end;
  if (!find_mapping(pc - 1, &begin, &end)) {
    g_vain_searches.fetch_add(1, std::memory_order_relaxed);
    return pc;
  }
  const std::uint32_t mine = g_generated_count.fetch_add(1, std::memory_order_acq_rel);
  if (mine < kMaxGeneratedMappings) {
    g_generated[mine].begin.store(begin, std::memory_order_relaxed);
    g_generated[mine].end.store(end, std::memory_order_release);
  }
  return begin + 1;
}

/// Numbers a return address that belongs to no loaded object, or found no room among the rules.
PcIndex generated_pc_index(std::uintptr_t pc) noexcept {
  const auto first = static_cast<std::uint32_t>((pc * 0x9e3779b97f4a7c15u) >> (64 - RuleTable::kEntryBits));
  for (std::uint32_t i = 0; i < kProbes; ++i) {
    const std::uint32_t at = (first + i) % kOthers;
    std::uintptr_t present = g_others[at].load(std::memory_order_relaxed);
    if (present == 0 && g_others[at].compare_exchange_strong(present, pc)) present = pc;
    if (present == pc) return kOthers + at;
  }
  g_dropped.fetch_add(1, std::memory_order_relaxed);
  return kNoPc;
}

}  // namespace

constinit std::atomic<std::uint64_t> g_code_epoch{1};

PcIndex pc_index(std::uintptr_t pc) noexcept {
  std::uint32_t entry = g_rules.entry_of(pc - 1, false);
  if (MALLARD_LIKELY(entry != RuleTable::kNone)) return entry;
  Module module;
  if (!find_module(pc - 1, &module)) return generated_pc_index(place_of_generated(pc));
  entry = g_rules.entry_of(pc - 1, true);
  return entry != RuleTable::kNone ? entry : generated_pc_index(pc);
}

std::uintptr_t pc_at(PcIndex index) noexcept {
  if (index < kOthers) return g_rules.code_at(index) + 1;
  return g_others[index - kOthers].load(std::memory_order_relaxed);
}

std::uint64_t code_addresses_dropped() noexcept { return g_dropped.load(std::memory_order_relaxed); }

bool is_generated_mapping(std::uintptr_t pc) noexcept {
  const std::uint32_t count = generated_mappings();
  return std::any_of(g_generated, g_generated + count, [pc](const GeneratedMapping& mapping) noexcept {
    return mapping.end.load(std::memory_order_acquire) != 0 &&
           mapping.begin.load(std::memory_order_relaxed) + 1 == pc;
  });
}

void begin_code_epoch() noexcept { g_code_epoch.fetch_add(1, std::memory_order_acq_rel); }

void note_generated_code(std::uintptr_t code) noexcept {
  std::uintptr_t low = g_generated_low.load(std::memory_order_relaxed);
  while (code < low && !g_generated_low.compare_exchange_weak(low, code)) {
  }
  std::uintptr_t high = g_generated_high.load(std::memory_order_relaxed);
  while (code > high && !g_generated_high.compare_exchange_weak(high, code)) {
  }
}

void on_memory_unmapped(std::uintptr_t begin, std::size_t bytes) noexcept {
  if (begin <= g_generated_high.load(std::memory_order_relaxed) &&
      begin + bytes > g_generated_low.load(std::memory_order_relaxed))
    begin_code_epoch();
}

bool code_addresses_adopt(const OtherParts& parts) noexcept {
  return parts.adopt_sparse(g_rules) && parts.adopt_sparse(g_others) && parts.adopt(g_generated) &&
         parts.adopt(g_generated_count) && parts.adopt(g_dropped);
}

std::uint64_t code_addresses_own_bytes() noexcept { return os::resident_bytes(g_others, sizeof g_others); }

CodeAddressTables code_address_tables() noexcept {
  return {g_rules.rows(), g_others, kOthers, RuleTable::row_bytes()};
}

}  // namespace mallard::unwind
