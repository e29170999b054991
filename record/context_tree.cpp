// SPDX-License-Identifier: Apache-2.0
#include "record/context_tree.hpp"

#include <atomic>
#include <cstddef>

#include "base/growing.hpp"
#include "record/published.hpp"

namespace mallard::record {
namespace {

// A hash table in four levels, each larger than the one before: a small program touches 256 KiB of it, and a
// node never moves, so that its place is its name. A child stands in its parent's level, or, where its line
// is taken there, in the next ones; early nodes, which are mostly the hot ones, lie close together.
constexpr int kLevels = 4, kSlotBits = 22, kLine = 8;
struct Level {
  std::size_t first;  ///< slot of the array
  int bits;           ///< 2^bits slots
};
constexpr std::size_t after(std::size_t first, int bits) noexcept { return first + (std::size_t{1} << bits); }
constexpr Level kLevel[kLevels] = {{0, 15},
                                   {after(0, 15), 17},
                                   {after(after(0, 15), 17), 19},
                                   {after(after(after(0, 15), 17), 19), kSlotBits}};
constexpr std::size_t kSlots = after(kLevel[3].first, kSlotBits);
constexpr int kLastLines = 64;  ///< lines looked at in the last level

// node: level 2 | slot 22, which is never 0 since slot 0 of level 0 stays free
// word: used 1 | parent 24 | pc 18 | site 20, so that a word without its site is what is looked for
constexpr int kNodeBits = kSlotBits + 2;
static_assert(1 + kNodeBits + kPcBits + kNodeSiteBits <= 64);
constexpr std::uint64_t kUsed = std::uint64_t{1} << (kNodeBits + kPcBits);
constexpr std::uint64_t kSiteMask = (std::uint64_t{1} << kNodeSiteBits) - 1;

using Word = std::atomic<std::uint64_t>;
constinit GrowingArray<Word, kSlots> g_nodes;
constinit std::atomic<std::uint64_t> g_dropped{0};

Word& word_of(NodeId node) noexcept {
  return g_nodes[kLevel[node >> kSlotBits].first + (node & ((1u << kSlotBits) - 1))];
}

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
    Word& word = g_nodes[l.first + slot];
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

bool context_tree_init() noexcept {
  if (!g_nodes.init() || !g_nodes.open(kLevel[1].first)) return false;
  Published::Tree& tree = mallard_published.tree;
  tree = {};
  tree.words = address_of(g_nodes.data());
  for (int i = 0; i < kLevels; ++i) tree.first_slot[i] = kLevel[i].first;
  tree.slot_bits = kSlotBits;
  tree.parent_shift = kNodeSiteBits + kPcBits;
  tree.parent_bits = kNodeBits;
  tree.code_shift = kNodeSiteBits;
  tree.code_bits = kPcBits;
  publish_code_addresses(&tree);
  return true;
}
void context_tree_release() noexcept {
  mallard_published.tree = {};
  g_nodes.release();
}

NodeId context_child(NodeId parent, PcIndex pc) noexcept {
  const std::uint64_t wanted = kUsed | std::uint64_t{parent} << kPcBits | pc;
  const std::uint64_t hash = wanted * 0x9e3779b97f4a7c15u;
  auto level = static_cast<int>(parent >> kSlotBits);
  NodeId node;
  if (MALLARD_LIKELY(find_in_line(level, hash, wanted, 0, &node) == Found::kHere)) return node;
  while (++level < kLevels) {
    const Level& l = kLevel[level];
    if (!g_nodes.open(after(l.first, l.bits))) break;
    if (find_in_line(level, hash, wanted, 0, &node) == Found::kHere) return node;
  }
  for (int line = 1; level == kLevels && line < kLastLines; ++line)
    if (find_in_line(kLevels - 1, hash, wanted, line, &node) == Found::kHere) return node;
  g_dropped.fetch_add(1, std::memory_order_relaxed);
  return kRoot;
}

NodeId context_parent(NodeId node) noexcept {
  const std::uint64_t word = word_of(node).load(std::memory_order_acquire);
  return static_cast<NodeId>(word >> (kNodeSiteBits + kPcBits)) & ((1u << kNodeBits) - 1);
}

PcIndex context_pc(NodeId node) noexcept {
  const std::uint64_t word = word_of(node).load(std::memory_order_acquire);
  return static_cast<PcIndex>(word >> kNodeSiteBits) & ((1u << kPcBits) - 1);
}

std::uint32_t context_site(NodeId node) noexcept {
  return static_cast<std::uint32_t>(word_of(node).load(std::memory_order_acquire) & kSiteMask);
}

std::uint32_t context_set_site(NodeId node, std::uint32_t site) noexcept {
  Word& word = word_of(node);
  std::uint64_t present = word.load(std::memory_order_acquire);
  while ((present & kSiteMask) == 0)
    if (word.compare_exchange_weak(present, present | site, std::memory_order_acq_rel)) return site;
  return static_cast<std::uint32_t>(present & kSiteMask);
}

std::uint64_t context_tree_dropped() noexcept { return g_dropped.load(std::memory_order_relaxed); }

std::uint64_t context_tree_own_bytes() noexcept {
  return os::resident_bytes(g_nodes.data(), kSlots * sizeof(Word));
}

}  // namespace mallard::record
