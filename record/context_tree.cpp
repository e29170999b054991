// SPDX-License-Identifier: Apache-2.0
#include "record/context_tree.hpp"

#include <atomic>
#include <cstddef>

#include "base/growing.hpp"
#include "record/published.hpp"

namespace mallard::record {

constinit tree::Word* tree::g_level[kLevels] = {};

namespace {

using namespace tree;

constexpr int kLine = 8;
constexpr std::size_t kSlots = after(kLevel[kLevels - 1].first, kSlotBits);
constexpr int kLastLines = 64;  ///< lines looked at in the last level

constexpr std::size_t kFirstSlots = std::size_t{1} << kLevel[0].bits;
constinit GrowingArray<Word, kSlots, kFirstSlots> g_nodes;
constinit std::atomic<std::uint64_t> g_dropped{0};
MALLARD_PART(tree_nodes, g_nodes);
MALLARD_PART(tree_dropped, g_dropped);
constinit int g_level_below_root = 0;

enum class Found { kHere, kLineFull };

/// Looks through one line of a level, and takes a free slot of it if the node is not there.
inline Found find_in_line(int level, std::uint64_t hash, std::uint64_t wanted, int line,
                          NodeId* node) noexcept {
  const Level& l = kLevel[level];
  const std::size_t mask = (std::size_t{1} << l.bits) - 1;
  const std::size_t start =
      static_cast<std::size_t>(hash >> (64 - l.bits)) + static_cast<std::size_t>(line) * kLine;
  const std::size_t first = start & mask & ~std::size_t{kLine - 1};
  for (std::size_t i = start, end = start + kLine; i != end; ++i) {
    const std::size_t slot = first | (i & (kLine - 1));
    Word& word = g_level[level][slot];
    std::uint64_t present = word.load(std::memory_order_relaxed);
    const NodeId here = static_cast<NodeId>(level) << kSlotBits | static_cast<NodeId>(slot);
    if (MALLARD_UNLIKELY(present == 0)) {
      if (here == kRoot) continue;
      // Releases the entry behind `pc`, which context_pc() may lead another thread to.
      if (word.compare_exchange_strong(present, wanted << kNodeSiteBits, std::memory_order_acq_rel))
        present = wanted << kNodeSiteBits;
    }
    if (MALLARD_LIKELY(present >> kNodeSiteBits == wanted)) {
      *node = here;
      return Found::kHere;
    }
  }
  return Found::kLineFull;
}

}  // namespace

bool context_tree_init(Expected expected) noexcept {
  if (!g_nodes.init()) return false;
  g_level[0] = g_nodes.first();
  for (int i = 1; i < kLevels; ++i) g_level[i] = g_nodes.data() + kLevel[i].first;
  g_level_below_root = expected == Expected::kManyStacks ? 1 : 0;
  Published::Tree& published = mallard_published.tree;
  published = {};
  for (int i = 0; i < kLevels; ++i) published.level_at[i] = address_of(g_level[i]);
  published.slot_bits = kSlotBits;
  published.parent_shift = kNodeSiteBits + unwind::kPcBits;
  published.parent_bits = kNodeBits;
  published.code_shift = kNodeSiteBits;
  published.code_bits = unwind::kPcBits;
  const unwind::CodeAddressTables codes = unwind::code_address_tables();
  published.rule_rows = address_of(codes.rule_rows);
  published.others = address_of(codes.others);
  published.rules = codes.rules;
  published.rule_stride = codes.rule_stride;
  return true;
}

void context_tree_release() noexcept {
  mallard_published.tree = {};
  g_nodes.release();
  for (Word*& level : g_level) level = nullptr;
}

MALLARD_NOINLINE NodeId tree::find_or_make(NodeId parent, unwind::PcIndex pc) noexcept {
  const std::uint64_t wanted = wanted_word(parent, pc);
  const std::uint64_t hash = hash_of(wanted);
  int level = parent == kRoot ? g_level_below_root : static_cast<int>(parent >> kSlotBits);
  NodeId node;
  for (; level < kLevels; ++level) {
    const Level& l = kLevel[level];
    if (!g_nodes.open(after(l.first, l.bits))) break;
    if (MALLARD_LIKELY(find_in_line(level, hash, wanted, 0, &node) == Found::kHere)) return node;
  }
  for (int line = 1; level == kLevels && line < kLastLines; ++line)
    if (find_in_line(kLevels - 1, hash, wanted, line, &node) == Found::kHere) return node;
  g_dropped.fetch_add(1, std::memory_order_relaxed);
  return kRoot;
}

NodeId context_parent(NodeId node) noexcept {
  const std::uint64_t word = word_of(node).load(std::memory_order_acquire);
  return static_cast<NodeId>(word >> (kNodeSiteBits + unwind::kPcBits)) & ((1u << kNodeBits) - 1);
}

unwind::PcIndex context_pc(NodeId node) noexcept {
  const std::uint64_t word = word_of(node).load(std::memory_order_acquire);
  return static_cast<unwind::PcIndex>(word >> kNodeSiteBits) & ((1u << unwind::kPcBits) - 1);
}

std::uint32_t context_set_site(NodeId node, std::uint32_t site) noexcept {
  Word& word = word_of(node);
  std::uint64_t present = word.load(std::memory_order_acquire);
  while ((present & kSiteMask) == 0)
    if (word.compare_exchange_weak(present, present | site, std::memory_order_acq_rel)) return site;
  return static_cast<std::uint32_t>(present & kSiteMask);
}

bool context_tree_adopt(const OtherParts& parts) noexcept {
  if (!g_nodes.adopt(parts, kSlots) || !parts.adopt(g_dropped)) return false;
  if (!g_nodes && !g_nodes.init()) return false;
  g_level[0] = g_nodes.first();
  for (int i = 1; i < kLevels; ++i) g_level[i] = g_nodes.data() + kLevel[i].first;
  return g_nodes.open(kSlots);
}

std::uint64_t context_tree_dropped() noexcept { return g_dropped.load(std::memory_order_relaxed); }

std::uint64_t context_tree_own_bytes() noexcept { return g_nodes.resident_bytes(kSlots); }

}  // namespace mallard::record
