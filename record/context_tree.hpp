// SPDX-License-Identifier: Apache-2.0
// The tree of all stacks: a node is a return address below another node, the root is the empty stack. Stacks
// that share their root end share its nodes, so that 300,000 stacks of 60 frames take some megabytes. A node
// is one machine word, put in place by one compare-and-swap: no lock, so that signal handlers may use it,
// too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/attributes.hpp"
#include "base/parts.hpp"
#include "unwind/code_addresses.hpp"

namespace mallard::record {

/// Where a node stands; never changes. 0 is the root, and what is returned when the tree is full.
using NodeId = std::uint32_t;
inline constexpr NodeId kRoot = 0;
inline constexpr int kNodeSiteBits = 20;

namespace tree {

// A hash table in five levels, each larger than the one before: a small program touches two pages of it,
// which every fork copies, and a node never moves, so that its place is its name. A child stands in its
// parent's level, or, where its line is taken there, in the next ones; early nodes, which are mostly the hot
// ones, lie close together. Where many stacks are to come (exact mode from the start), the first level stays
// empty: its lines would be full, and looked through in vain.
inline constexpr int kLevels = 5, kSlotBits = 22;
struct Level {
  std::size_t first;  ///< slot of the array
  int bits;           ///< 2^bits slots
  int shift = 64 - bits;
};
constexpr std::size_t after(std::size_t first, int bits) noexcept { return first + (std::size_t{1} << bits); }
inline constexpr Level kLevel[kLevels] = {{0, 10},
                                          {after(0, 10), 15},
                                          {after(after(0, 10), 15), 17},
                                          {after(after(after(0, 10), 15), 17), 19},
                                          {after(after(after(after(0, 10), 15), 17), 19), kSlotBits}};

// A node is: level 3 | slot 22, which is never 0 since slot 0 of level 0 stays free
// Its word is: used 1 | parent 25 | pc 18 | site 20, so that a word without its site is what is looked for
inline constexpr int kNodeBits = kSlotBits + 3;
static_assert(1 + kNodeBits + unwind::kPcBits + kNodeSiteBits <= 64);
inline constexpr std::uint64_t kUsed = std::uint64_t{1} << (kNodeBits + unwind::kPcBits);
inline constexpr std::uint64_t kSiteMask = (std::uint64_t{1} << kNodeSiteBits) - 1;

using Word = std::atomic<std::uint64_t>;
extern Word* g_level[kLevels];  ///< their slots

inline Word& word_of(NodeId node) noexcept {
  return g_level[node >> kSlotBits][node & ((1u << kSlotBits) - 1)];
}
constexpr std::uint64_t wanted_word(NodeId parent, unwind::PcIndex pc) noexcept {
  return kUsed | std::uint64_t{parent} << unwind::kPcBits | pc;
}
constexpr std::uint64_t hash_of(std::uint64_t wanted) noexcept { return wanted * 0x9e3779b97f4a7c15u; }

NodeId find_or_make(NodeId parent, unwind::PcIndex pc) noexcept;

}  // namespace tree

/// What a process will probably record: a few sampled stacks, which shall lie on few pages, or all of them
/// (exact mode from the start), which shall be found at once.
enum class Expected : std::uint8_t { kFewStacks, kManyStacks };

/// Reserves address space. \return false: there is none \context init
bool context_tree_init(Expected expected) noexcept;
void context_tree_release() noexcept;

/// The node of return address `pc` below `parent`, made if it is new. \return kRoot if there is no room
/// \context hot: any thread, signal handlers
inline NodeId context_child(NodeId parent, unwind::PcIndex pc) noexcept {
  const std::uint64_t wanted = tree::wanted_word(parent, pc);
  const std::uint32_t level = parent >> tree::kSlotBits;
  const auto slot = static_cast<std::size_t>(tree::hash_of(wanted) >> tree::kLevel[level].shift);
  const tree::Word& word = tree::g_level[level][slot];
  if (MALLARD_LIKELY(word.load(std::memory_order_relaxed) >> kNodeSiteBits == wanted))
    return level << tree::kSlotBits | static_cast<NodeId>(slot);
  return tree::find_or_make(parent, pc);
}

NodeId context_parent(NodeId node) noexcept;
unwind::PcIndex context_pc(NodeId node) noexcept;

/// The call site of the stack that ends at the node, a number below 2^kNodeSiteBits; 0 = none yet.
inline std::uint32_t context_site(NodeId node) noexcept {
  return static_cast<std::uint32_t>(tree::word_of(node).load(std::memory_order_acquire) & tree::kSiteMask);
}
/// Sets the node's call site unless another thread was faster. \return the number that is set now
std::uint32_t context_set_site(NodeId node, std::uint32_t site) noexcept;

/// Becomes a copy of another process's. \context offline
bool context_tree_adopt(const OtherParts& parts) noexcept;

std::uint64_t context_tree_dropped() noexcept;    ///< nodes that found no room
std::uint64_t context_tree_own_bytes() noexcept;  ///< what is in memory of it \context reporter

}  // namespace mallard::record
