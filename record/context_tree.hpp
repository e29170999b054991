// SPDX-License-Identifier: Apache-2.0
// The tree of all stacks: a node is a return address below another node, the root is the empty stack. Stacks
// that share their root end share its nodes, so that 300,000 stacks of 60 frames take some megabytes. A node
// is one machine word, put in place by one compare-and-swap: no lock, so that signal handlers may use it,
// too.
#pragma once

#include <cstdint>

#include "record/code_addresses.hpp"

namespace mallard::record {

/// Where a node stands; never changes. 0 is the root, and what is returned when the tree is full.
using NodeId = std::uint32_t;
inline constexpr NodeId kRoot = 0;
inline constexpr int kNodeSiteBits = 20;

bool context_tree_init() noexcept;  ///< reserves address space \return false: none \context init
void context_tree_release() noexcept;

/// The node of return address `pc` below `parent`, made if it is new. \return kRoot if there is no room
/// \context hot: any thread, signal handlers
NodeId context_child(NodeId parent, PcIndex pc) noexcept;

NodeId context_parent(NodeId node) noexcept;
PcIndex context_pc(NodeId node) noexcept;

/// A number below 2^kNodeSiteBits kept with the node: the call site of the stack that ends here; 0 = none
/// yet.
std::uint32_t context_site(NodeId node) noexcept;
/// Sets it unless another thread was faster. \return the number that is set now
std::uint32_t context_set_site(NodeId node, std::uint32_t site) noexcept;

std::uint64_t context_tree_dropped() noexcept;    ///< nodes that found no room
std::uint64_t context_tree_own_bytes() noexcept;  ///< what is in memory of it \context reporter

}  // namespace mallard::record
